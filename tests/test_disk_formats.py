"""CIFAR's binary files and TensorFlow's records: what was written comes back, and nothing else is taken for it."""

from __future__ import annotations

import functools

import image_files
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalelaw.errors import UserError
from scalelaw.sweep import data_facts
from scalelaw.sweep.config import DataConfig, DataSection, ModelConfig, RunConfig, TrainConfig
from scalelaw.sweep.disk import example, split
from scalelaw.sweep.facts import with_digest


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def cifar(place, source="cifar10", **more):
    return with_digest(DataSection(source=source, path=str(place), **more))


def test_cifar_10_is_read_as_its_page_describes(tmp_path):
    """https://www.cs.toronto.edu/~kriz/cifar.html: a label, 1024 red, 1024 green, 1024 blue bytes, row by row."""
    from scalelaw.sweep import cifar as reader

    place = image_files.cifar10(tmp_path / "cifar-10-batches-bin")
    data = cifar(place)
    assert (data.train_images, data.holdout_images, data_facts(data).classes) == (60, 12, 10)
    assert data_facts(data).resolution == 32
    found = reader.read("cifar10", str(place))
    assert found.train == 60
    for number in (0, 11, 12, 59, 60, 71):
        assert (found.images[number] == image_files.picture(number, 32, 32)).all()
        assert found.labels[number] == number % 4
    assert cifar(tmp_path).digest == data.digest  # the folder that it was unpacked in
    assert cifar(place, train_images=7, holdout_images=5).holdout_images == 5


def test_cifar_100_takes_the_fine_labels(tmp_path):
    from scalelaw.sweep import cifar as reader

    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (20, 3074)).astype(np.uint8)
    rows[:, 0], rows[:, 1] = rng.integers(0, 20, 20), rng.integers(0, 100, 20)
    (tmp_path / "train.bin").write_bytes(rows[:15].tobytes())
    (tmp_path / "test.bin").write_bytes(rows[15:].tobytes())
    found = reader.read("cifar100", str(tmp_path))
    assert found.labels.tolist() == rows[:, 1].tolist()
    assert found.images[3, 5, 7].tolist() == rows[3, 2 + np.arange(3) * 1024 + 5 * 32 + 7].tolist()
    assert (found.train, found.classes) == (15, 100)


def test_cifar_mistakes_are_said(tmp_path):
    place = image_files.cifar10(tmp_path / "c")
    content = (place / "data_batch_2.bin").read_bytes()
    (place / "data_batch_2.bin").write_bytes(content[:-1])
    (place / "test_batch.bin").unlink()
    with pytest.raises(UserError) as caught:
        cifar(place)
    assert len(caught.value.messages) == 2
    assert "has 36875 bytes, no number of records of 3073" in caught.value.messages[0]
    image_files.cifar10(place)
    (place / "data_batch_2.bin").write_bytes(b"\x0a" + content[1:])
    with pytest.raises(UserError, match=r"data_batch_2.bin, record 0: label 10; cifar10 has 10 classes"):
        cifar(place)
    image_files.cifar10(place)
    with pytest.raises(UserError, match="ask for at most"):
        cifar(place, train_images=61)


def test_cifar_learns_with_its_own_augmentation_and_an_archive_without():
    """Runs of archives keep their ids: augmentation that is not asked for is no part of them."""
    jax = pytest.importorskip("jax", reason="the trainer needs jax")
    del jax
    from scalelaw.train.data import arrays

    assert arrays.Archive.__dataclass_fields__["augment"].default == "none"
    settings = {"model": ModelConfig(variant="N0"), "train": TrainConfig(images=9, peak_lr=1)}
    plain, none, flip = (RunConfig(data=DataConfig(source="npz", digest="0", **more), **settings).run_id
                         for more in ({}, {"augment": None}, {"augment": "flip"}))  # fmt: skip
    assert plain == none != flip


def test_a_changed_cifar_is_refused_and_its_batches_know_the_run(tmp_path):
    pytest.importorskip("jax", reason="the trainer needs jax")
    from scalelaw.train import data
    from scalelaw.train.data import Order

    place = image_files.cifar10(tmp_path / "c")
    config = cifar(place)
    source = data.load(config)
    assert source.describe()["augment"] == "crop-flip"
    one, other = (next(source.feed(Order(seed, 60, 60, 8), 0, slice(0, 8))).inputs for seed in (1, 2))
    assert (one["key"] != other["key"]).any()
    same = dict(one, epoch=one["epoch"] + 1)
    images = [np.asarray(source.images(source.arrays, inputs, training=training)[0])
              for inputs, training in ((one, True), (one, True), (same, True), (one, False))]  # fmt: skip
    assert (images[0] == images[1]).all()
    assert (images[0] != images[2]).any()
    assert (images[3] == np.asarray(source.batch(source.arrays, one["index"])[0])).all()
    test = bytearray((place / "test_batch.bin").read_bytes())
    test[100] ^= 1
    (place / "test_batch.bin").write_bytes(test)
    with pytest.raises(UserError, match="has changed since the sweep was planned"):
        data.load(config)


def test_sets_in_memory_take_exclusion_lists_too(tmp_path):
    pytest.importorskip("jax", reason="the trainer needs jax")
    from scalelaw.train import data

    images = np.random.default_rng(0).integers(0, 256, (50, 6, 6, 3)).astype(np.uint8)
    images[:, 0, 0, 0] = np.arange(50)
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(50) % 4)
    image_files.cifar10(tmp_path / "c")
    for source, path, names in (
        ("npz", "a.npz", ["0", "7", "49"]),
        ("cifar10", "c", ["data_batch_2.bin:3", "test_batch.bin:1"]),
    ):
        settings = {"source": source, "path": str(tmp_path / path)}
        before = with_digest(DataSection(**settings))
        (tmp_path / "x.txt").write_text("\n".join(names))
        config = with_digest(DataSection(**settings, exclude=str(tmp_path / "x.txt")))
        left_out = before.train_images - config.train_images
        assert 1 <= left_out == config.excluded_images <= len(names)  # of those held out nothing is taken
        assert config.name != before.name
        assert data.load(config).train_images == config.train_images
        if source == "npz":
            source = data.load(config)
            numbers = np.asarray(source.arrays["images"])[:, 0, 0, 0]
            assert not set(map(str, numbers[: config.train_images])) & set(names)
            assert sorted(numbers.tolist()) == sorted(set(range(50)) - set(map(int, names)) | (
                set(map(int, names)) & set(numbers[config.train_images :].tolist())))  # fmt: skip
        (tmp_path / "x.txt").write_text(names[0] + "\n")
        if left_out > 1:
            with pytest.raises(UserError, match=r"exclude: .* has changed since"):
                data.load(config)


@pytest.mark.parametrize("source", ["npz", "cifar10", "folder"])
@pytest.mark.parametrize(("key", "what"), [("exclude", "training"), ("holdout_exclude", "held-out")])
def test_a_list_that_leaves_no_image_is_said(tmp_path, source, key, what):
    np.savez(tmp_path / "npz", images=np.arange(1280.0).reshape(20, 8, 8), labels=np.arange(20) % 4)
    image_files.cifar10(tmp_path / "cifar10")
    image_files.folder(tmp_path / "folder", 20)
    batches = ["test_batch.bin", *(f"data_batch_{k}.bin" for k in range(1, 6))]
    names = [*map(str, range(20)), *(f"{file}:{number}" for number in range(12) for file in batches)]
    names += [path.relative_to(tmp_path / "folder").as_posix() for path in (tmp_path / "folder").rglob("*.jpeg")]
    (tmp_path / "all.txt").write_text("\n".join(names))
    path = tmp_path / ("npz.npz" if source == "npz" else source)
    with pytest.raises(UserError, match=rf"^\[data\] {key}: .*all.txt leaves out every {what} image; shorten it$"):
        with_digest(DataSection(source=source, path=str(path), **{key: str(tmp_path / "all.txt")}))


# tf.train.Example


@functools.cache
def examples():
    """The messages of TensorFlow, made from their definition, so that an independent library writes them."""
    pb = pytest.importorskip("google.protobuf.descriptor_pb2")
    from google.protobuf import descriptor_pool, message_factory

    field = pb.FieldDescriptorProto
    file = pb.FileDescriptorProto(name="example.proto", package="t", syntax="proto3")

    def message(name, *fields):
        made = file.message_type.add(name=name)
        for number, (key, kind, label, type_name) in enumerate(fields, 1):
            made.field.add(name=key, number=number, type=kind, label=label, type_name=type_name)
        return made

    one, many = field.LABEL_OPTIONAL, field.LABEL_REPEATED
    message("BytesList", ("value", field.TYPE_BYTES, many, None))
    message("FloatList", ("value", field.TYPE_FLOAT, many, None))
    message("Int64List", ("value", field.TYPE_INT64, many, None))
    kinds = (("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List"))
    message("Feature", *((key, field.TYPE_MESSAGE, one, f".t.{kind}") for key, kind in kinds))
    features = message("Features", ("feature", field.TYPE_MESSAGE, many, ".t.Features.FeatureEntry"))
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=field.TYPE_STRING, label=one)
    entry.field.add(name="value", number=2, type=field.TYPE_MESSAGE, label=one, type_name=".t.Feature")
    message("Example", ("features", field.TYPE_MESSAGE, one, ".t.Features"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Example"))


@given(
    st.binary(max_size=300),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5),
    st.lists(st.floats(width=32), max_size=4),
)
def test_records_read_as_protocol_buffers_write_them(image, labels, floats):
    written = examples()()
    written.features.feature["image"].bytes_list.value.append(image)
    written.features.feature["label"].int64_list.value.extend(labels)
    written.features.feature["floats"].float_list.value.extend(floats)
    written.features.feature["other"].bytes_list.value.extend([b"a", b"b"])
    found = example.features(written.SerializeToString(), ("image", "label", "floats", "absent"))
    assert found["image"] == [image]
    assert found.get("label", []) == labels
    assert "other" not in found
    assert "absent" not in found


@given(st.binary(max_size=200))
def test_other_bytes_are_said_to_be_none(content):
    try:
        found = example.features(content, ("image",))
    except ValueError:
        return
    assert set(found) <= {"image"}


def test_records_of_tensorflow_datasets(tmp_path):
    pytest.importorskip("array_record")
    records = [
        image_files.example(image_files.encoded(k), k % 4, packed=bool(k % 2), file_name=b"x") for k in range(20)
    ]
    for part in range(2):
        image_files.array_record(tmp_path / f"set-train.array_record-0000{part}-of-00002", records[10 * part :][:10])
    settings = {"source": "arrayrecord", "path": str(tmp_path)}
    with pytest.raises(UserError, match="does not say how many there are; set classes"):
        with_digest(DataSection(**settings))
    (tmp_path / "features.json").write_text(
        '{"featuresDict": {"features": {"label": {"classLabel": {"numClasses": "6"}}}}}'
    )
    assert with_digest(DataSection(**settings)).classes == 6
    (tmp_path / "label.labels.txt").write_text("ant\nbee\ncat\ndog\n")
    data = with_digest(DataSection(**settings))
    assert (data.classes, data.train_images, data.holdout_images) == (4, 16, 4)
    images = split(data).images
    assert images.class_names == image_files.CLASSES
    for row in np.random.default_rng(0).permutation(20).tolist():
        assert images.read(row) == (image_files.encoded(row), row % 4)
    assert images.name(13) == "set-train.array_record-00001-of-00002:3"
    (tmp_path / "bad.array_record").write_bytes(b"text" * 100)
    with pytest.raises(UserError, match=r"bad.array_record: not an ArrayRecord file that can be read"):
        with_digest(DataSection(**settings))


def test_held_out_records_that_number_their_classes_otherwise_are_refused(tmp_path):
    pytest.importorskip("array_record")
    for place, words in (("train", "ant bee cat dog"), ("same", "ant bee cat dog"), ("other", "ant cat bee dog")):
        examples = [image_files.example(image_files.encoded(k), k % 4) for k in range(8)]
        image_files.array_record(tmp_path / place / "a.array_record", examples)
        (tmp_path / place / "label.labels.txt").write_text("\n".join(words.split()))

    def completed(held):
        settings = {"source": "arrayrecord", "path": str(tmp_path / "train"), "holdout_path": str(tmp_path / held)}
        return with_digest(DataSection(**settings))

    assert completed("same").holdout_images == 8
    with pytest.raises(UserError, match=r"other: label 1 has different names in different files"):
        completed("other")

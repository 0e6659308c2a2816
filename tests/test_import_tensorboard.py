"""TensorBoard event files: framing, checksums, messages, and one row a run."""

import contextlib
import struct

import numpy as np
import pytest
from event_files import crc32c as plain_crc32c
from event_files import curve, event, events, field, hparams, simple, tensor, tfrecord, varint
from hypothesis import given
from hypothesis import strategies as st

from scalelaw.errors import UserError
from scalelaw.imports import ColumnMap, Options, column_map, import_runs
from scalelaw.imports.checksums import crc32c, crc32c_of_rows, masked
from scalelaw.imports.records import records
from scalelaw.imports.wire import Malformed, Message

BARE = Options(ColumnMap())


def read(path, **options):
    return import_runs([str(path)], Options(column_map({"loss": "val/loss"}), **options))


# Checksums


@pytest.mark.parametrize(
    ("data", "crc"),
    [  # RFC 3720, B.4, and the check value of the catalogue of CRCs
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"123456789", 0xE3069283),
        (b"", 0),
    ],
)
def test_crc32c_of_known_vectors(data, crc):
    assert crc32c(data) == crc
    assert crc32c_of_rows(np.frombuffer(data * 3, np.uint8).reshape(3, -1)).tolist() == [crc] * 3


@given(st.binary(max_size=300))
def test_crc32c_is_what_its_definition_gives(data):
    assert crc32c(data) == plain_crc32c(data)


def test_the_mask_is_that_of_a_published_file():
    """TensorFlow's event files begin so: a record of 24 bytes and the masked checksum of that length."""
    begin = b'\x18\x00\x00\x00\x00\x00\x00\x00\xa3\x7fK"'
    assert masked(crc32c(begin[:8])) == int.from_bytes(begin[8:], "little")


# Framing


@given(st.lists(st.binary(max_size=50), max_size=80))
def test_records_come_back_as_they_were_written(tmp_path_factory, written):
    path = tmp_path_factory.mktemp("records") / "f"
    path.write_bytes(b"".join(map(tfrecord, written)))
    assert records(path) == (written, None)


@pytest.mark.parametrize("cut", [1, 4, 9, 13, 17])
def test_a_file_whose_writer_was_killed_is_read_up_to_there(tmp_path, cut):
    path = tmp_path / "f"
    path.write_bytes((tfrecord(b"one") + tfrecord(b"two"))[:-cut])
    found, lost = records(path)
    assert found == [b"one"]
    assert "ends within a record" in lost


@pytest.mark.parametrize("count", [2, 40])
def test_damage_is_named_with_its_place(tmp_path, count):
    """Of few records checksums are worked out one by one, of many together."""
    path = tmp_path / "f"
    size = len(tfrecord(b"12345"))
    for at in range(size, 2 * size):
        data = bytearray(tfrecord(b"12345") * count)
        data[at] ^= 0x10
        path.write_bytes(data)
        with pytest.raises(UserError, match=f"{path}: is damaged.*at byte {size} is"):
            records(path)


# Messages


@given(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.floats(width=32, allow_nan=False), st.text())
def test_fields_of_every_kind(whole, wide, narrow, text):
    message = Message(field(1, whole) + field(2, wide) + simple("t", narrow)[3:] + field(200, text))
    assert (message.integer(1), message.double(2), message.text(200)) == (whole, wide, text)
    assert Message(simple("t", narrow)).single(2) == narrow


@given(st.binary(max_size=40))
def test_any_bytes_are_a_message_or_malformed(data):
    with contextlib.suppress(Malformed):
        Message(data)


SCALARS = {
    "float": (1, field(5, struct.pack("<f", 0.5))),
    "float not packed": (1, varint(5 << 3 | 5) + struct.pack("<f", 0.5)),
    "double": (2, field(6, struct.pack("<d", 0.5))),
    "content": (1, field(4, struct.pack("<f", 0.5))),
    "double content": (2, field(4, struct.pack("<d", 0.5))),
    "half": (19, field(13, varint(struct.unpack("<H", np.float16(0.5).tobytes())[0]))),
    "bfloat16": (14, field(4, np.float32(0.5).tobytes()[2:])),
}


def test_events_that_another_library_wrote(tmp_path):
    """Google's own serialiser, from the messages' public descriptions, agrees with what is read and written here."""
    pytest.importorskip("google.protobuf")
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="event.proto", package="t", syntax="proto3")
    kinds = {"double": 1, "float": 2, "int64": 3, "string": 9, "bytes": 12}
    for name, fields in {
        "Value": [("tag", 1, "string"), ("simple_value", 2, "float")],
        "Summary": [("value", 1, ".t.Value")],
        "Event": [("wall_time", 1, "double"), ("step", 2, "int64"), ("summary", 5, ".t.Summary")],
    }.items():
        message = file.message_type.add(name=name)
        for label, number, kind in fields:
            added = message.field.add(name=label, number=number, label=3 if kind == ".t.Value" else 1)
            added.type = kinds.get(kind, 11)
            if kind not in kinds:
                added.type_name = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    made = message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Event"))
    theirs = made(wall_time=2.5, step=2**40, summary={"value": [{"tag": "loss", "simple_value": 1.5}]})
    assert theirs.SerializeToString() == event(2.5, 2**40, simple("loss", 1.5))
    events(tmp_path / "r" / "x.tfevents.1", theirs.SerializeToString())
    runs = import_runs([str(tmp_path)], BARE).runs
    assert (runs.val_loss.tolist(), runs.frame["_step"].tolist()) == ([1.5], [2**40])


@pytest.mark.parametrize("kind", SCALARS)
def test_scalars_as_tensors_of_every_type(tmp_path, kind):
    events(tmp_path / "r" / "x.tfevents.1", event(1.0, 7, tensor("loss", *SCALARS[kind])))
    assert import_runs([str(tmp_path)], BARE).runs.val_loss.tolist() == [0.5]


@pytest.mark.parametrize(
    ("dtype", "body", "value"),
    [(3, field(7, varint(-3)), -3), (9, field(10, varint(2**40)), 2**40), (10, field(11, varint(1)), 1), (1, b"", 0)],
)
def test_whole_numbers_and_a_zero_that_is_left_out(tmp_path, dtype, body, value):
    events(tmp_path / "r" / "x.tfevents.1", event(1.0, 7, tensor("extra", dtype, body), simple("loss", 1.0)))
    assert import_runs([str(tmp_path)], BARE).runs.frame["extra"].tolist() == [value]


def test_what_is_no_scalar_is_named_and_passed_over(tmp_path):
    pair = tensor("pair", 1, field(5, struct.pack("<2f", 1, 2)), shape=(2,))
    words = tensor("words", 7, field(8, "text"))
    events(tmp_path / "r" / "x.tfevents.1", event(1.0, 7, simple("loss", 1.0), pair, words))
    found = import_runs([str(tmp_path)], BARE)
    assert any("passed over: pair, words" in note for note in found.notes)
    assert "pair" not in found.runs.frame


# Runs


def test_every_folder_is_a_run_and_its_last_point_the_row(tmp_path):
    for size, losses in (("10", [4.0, 3.0]), ("20", [4.0, 2.5, 2.25])):
        curve(tmp_path / "lm" / size / "x.tfevents.1", losses)
    found = read(tmp_path)
    assert found.runs.run_id.tolist() == ["lm.10", "lm.20"]
    assert found.runs.val_loss.tolist() == [3.0, 2.25]
    assert found.runs.frame["_step"].tolist() == [200, 300]
    assert found.traces["lm.20"]["val_loss"].to_pylist() == [4.0, 2.5, 2.25]
    assert any("half-way down a schedule is not a run" in note for note in found.notes)
    assert any("--total-steps" in note for note in found.notes)
    assert not found.runs.has("status")


def test_hyperparameters_and_the_end_of_a_session_are_columns(tmp_path):
    curve(tmp_path / "a" / "x.tfevents.1", [3.0, 2.0], N=1e6, lr=0.1, model="S", tied=True)
    runs = read(tmp_path).runs
    assert (runs.params.tolist(), runs.status.tolist()) == ([1_000_000], ["finished"])
    assert [runs.frame[name][0] for name in ("lr", "model", "tied")] == [0.1, "S", True]


def test_hyperparameters_in_a_folder_below_belong_to_the_run_above(tmp_path):
    """PyTorch's add_hparams makes a folder of its own in the run's."""
    curve(tmp_path / "a" / "x.tfevents.1", [3.0, 2.0])
    events(tmp_path / "a" / "1700" / "x.tfevents.2", event(9.0, 0, *hparams({"N": 5}), simple("hparam/best", 1.5)))
    found = read(tmp_path)
    assert (found.runs.run_id.tolist(), found.runs.params.tolist()) == (["a"], [5])
    assert found.runs.frame["hparam/best"].tolist() == [1.5]
    assert found.traces["a"]["val_loss"].to_pylist() == [3.0, 2.0]


def test_folders_for_training_and_validation_are_one_run(tmp_path):
    """Keras writes one tag into two folders of a run."""
    for name in ("a", "b"):
        for part, losses in (("train", [3.0, 1.0]), ("validation", [3.5, 2.0])):
            curve(tmp_path / name / part / "x.tfevents.1", losses)
    found = import_runs([str(tmp_path)], Options(column_map({"loss": "validation/val/loss"})))
    assert (found.runs.run_id.tolist(), found.runs.val_loss.tolist()) == (["a", "b"], [2.0, 2.0])
    assert found.traces["a"]["train/val/loss"].to_pylist() == [3.0, 1.0]
    curve(tmp_path / "only" / "test" / "x.tfevents.1", [5.0])
    assert read(tmp_path / "only").runs.run_id.tolist() == ["test"]  # one alone may be a run's name


def test_a_run_that_was_started_again_goes_on_in_a_second_file(tmp_path):
    curve(tmp_path / "a" / "x.tfevents.1", [4.0, 3.5])
    events(tmp_path / "a" / "x.tfevents.2", event(50.0, 200, simple("val/loss", 3.0)),
           event(51.0, 300, simple("val/loss", 2.0)))  # fmt: skip
    assert read(tmp_path).traces["a"]["val_loss"].to_pylist() == [4.0, 3.0, 2.0]


def test_runs_that_fell_short_are_failed_and_others_finished(tmp_path):
    for name, losses in (("a", [4.0, 3.0, 2.0]), ("b", [4.0, 3.0])):
        curve(tmp_path / name / "x.tfevents.1", losses)
    found = read(tmp_path, total_steps="300")
    assert found.runs.status.tolist() == ["finished", "failed"]
    assert found.runs.error.tolist() == [None, "the last point is step 200 of 300"]
    assert len(found.runs.finished()) == 1


def test_a_loss_that_ended_as_no_number_is_diverged_not_the_last_good_one(tmp_path):
    for name, losses in (("a", [4.0, 3.0]), ("b", [4.0, float("nan")]), ("c", [4.0, float("inf")])):
        curve(tmp_path / name / "x.tfevents.1", losses)
    runs = read(tmp_path, total_steps="200").runs
    assert runs.status.tolist() == ["finished", "diverged", "diverged"]
    assert runs.frame["val_loss"].notna().tolist() == [True, False, False]


def test_a_loss_older_than_the_last_step_is_named(tmp_path):
    events(tmp_path / "a" / "x.tfevents.1", event(1.0, 100, simple("val/loss", 3.0)), event(2.0, 150, simple("t", 1.0)))
    assert any("older than their last step (run a: step 100 of 150)" in note for note in read(tmp_path).notes)


def test_folders_without_scalars_are_refused(tmp_path):
    events(tmp_path / "a" / "x.tfevents.1")
    with pytest.raises(UserError, match="no TensorBoard scalars in 1 event files"):
        read(tmp_path)
    (tmp_path / "a" / "x.tfevents.1").write_bytes(b"not an event file at all")
    with pytest.raises(UserError, match="damaged, or no event file"):
        read(tmp_path)

"""The spec's grammar, and every mistake in a spec in one go: file, section, key, mend."""

# ruff: noqa: E501 - the contract and the messages stand as they are
import tomllib

import numpy as np
import pytest

from scalelaw.errors import UserError
from scalelaw.sweep import check_spec, expand, read_spec

CONTRACT = """
[sweep]
name = "demo"                    # results go to results/<name>; -o/--out FOLDER overrides, on every command
[data]
source = "hierarchy"             # the built-in images; or a folder, Parquet, ArrayRecord, ... with `path`
train_images = 32768
[model]
family = "nfnet"
variants = ["N0", "N1", "N2"]    # lists in [model] and [train] span a grid
[train]
epochs = [0.25, 0.5, 1, 2, 4]    # or images = ..., or core_hours = ...: exactly one
peak_lr = { around = 1.6, factor = 2, points = 3 }     # or a list
batch_size = 64
seeds = [0]
layout = "grid"                  # or "iso": `core_hours = [...]` x variants, epochs follow from the budget
recipe = "pretrain"              # section 6

[[part]]                         # optional further grids of the same sweep; a part's keys win, its length replaces the one above
train.layout = "iso"
train.core_hours = [1e-7, 3e-7, 1e-6]
"""

PARTS = {
    "sweep": '[sweep]\nname = "demo"\n',
    "data": '[data]\nsource = "hierarchy"\ntrain_images = 100\n',
    "model": '[model]\nvariants = ["N0", "N1"]\n',
    "train": "[train]\nepochs = [1, 2]\npeak_lr = [1.0]\n",
    "parts": "",
}


def checked(**parts):
    return check_spec(tomllib.loads("".join({**PARTS, **parts}.values())), "spec.toml")


def mistakes(**parts):
    with pytest.raises(UserError) as caught:
        expand(checked(**parts))
    assert all("\n" not in line and line.startswith("spec.toml: ") for line in caught.value.messages)
    assert len(set(caught.value.messages)) == len(caught.value.messages)
    return [line.removeprefix("spec.toml: ") for line in caught.value.messages]


def test_the_contracts_example_spans_the_stated_grids(tmp_path):
    path = tmp_path / "demo.toml"
    path.write_text(CONTRACT)
    spec = read_spec(path)
    assert (spec.sweep.name, spec.sweep.utilisation, spec.source) == ("demo", 0.36, str(path))
    grid, iso = spec.grids
    assert grid.train.peak_lr == iso.train.peak_lr == (0.8, 1.6, 3.2)
    assert grid.train.epochs == (0.25, 0.5, 1, 2, 4)
    assert (iso.train.epochs, iso.train.core_hours) == (None, (1e-7, 3e-7, 1e-6))
    assert (grid.train.layout, iso.train.layout) == ("grid", "iso")
    assert (grid.data, grid.model) == (iso.data, iso.model)
    runs = expand(spec)
    assert len(runs) == len({run.run_id for run in runs}) == 3 * 5 * 3 + 3 * 3 * 3
    assert {run.config.train.batch_size for run in runs} == {64}
    assert {run.config.train.seed for run in runs} == {0}


@pytest.mark.parametrize(
    ("text", "rates"),
    [
        ("{ around = 1.6 }", (0.8, 1.6, 3.2)),
        ("{ around = 1.2, factor = 2, points = 5 }", (0.3, 0.6, 1.2, 2.4, 4.8)),
        ("{ around = 1, factor = 10, points = 2 }", (0.1, 1)),
        ("{ around = 3, points = 1 }", (3,)),
        ("0.5", (0.5,)),
        ("[2, 1]", (2, 1)),
    ],
)
def test_learning_rates(text, rates):
    spec = checked(train=f"[train]\nepochs = 1\npeak_lr = {text}\n")
    np.testing.assert_allclose(spec.grids[0].train.peak_lr, rates, rtol=1e-15)


def test_single_values_are_lists_of_one():
    spec = checked(
        model='[model]\nvariants = "N3"\n', train="[train]\nimages = 5\npeak_lr = 1\nseeds = 3\nmomentum = 0\n"
    )
    train = spec.grids[0].train
    assert spec.grids[0].model.variants == ("N3",)
    assert (train.images, train.peak_lr, train.seeds, train.momentum, train.clipping) == (
        (5,),
        (1.0,),
        (3,),
        (0.0,),
        None,
    )


def test_a_parts_keys_win_and_its_length_replaces_the_one_above():
    spec = checked(
        train="[train]\nimages = [7, 8]\npeak_lr = [1.0]\nseeds = [5]\n",
        parts='[[part]]\nmodel.variants = ["N4"]\ntrain.seeds = [0, 1]\n'
        "[[part]]\ntrain.epochs = [3]\ndata.train_images = 50\n",
    )
    top, first, second = spec.grids
    assert (top.train.images, top.train.seeds, top.model.variants) == ((7, 8), (5,), ("N0", "N1"))
    assert (first.train.images, first.train.seeds, first.model.variants) == ((7, 8), (0, 1), ("N4",))
    assert (second.train.images, second.train.epochs, second.data.train_images) == (None, (3,), 50)
    assert second.train.seeds == (5,)  # parts add to the sections above, not to each other


def test_a_part_with_another_source_starts_from_empty_data(tmp_path):
    path = tmp_path / "images.npz"
    np.savez(path, images=np.arange(10 * 16).reshape(10, 4, 4), labels=np.arange(10) % 2)
    spec = checked(
        data='[data]\nsource = "hierarchy"\ntrain_images = 100\nclasses = 9\n',
        parts=f'[[part]]\ndata.source = "npz"\ndata.path = "{path}"\n',
    )
    assert [run.cost.facts.classes for run in expand(spec)][::4] == [9, 2]


DATA, TRAIN = PARTS["data"], PARTS["train"]
BOUNDS = "peak_lr = { around = 1.6, factor = 2, points = 3 }"


@pytest.mark.parametrize(
    ("parts", "lines"),
    [
        ({"model": '[model]\nvariants = ["N0", "F77", "n1"]\n'},
         ["[model] variants, value 2 of 3: unknown variant 'F77'; did you mean 'F7'? (known: N0, ",
          "[model] variants, value 3 of 3: unknown variant 'n1'; did you mean 'N1'? (known: N0, "]),
        ({"model": '[model]\nfamily = "nfnets"\nvariants = ["N0", "X"]\n'},
         ["[model] family: unknown 'nfnets'; did you mean 'nfnet'? (known: nfnet)"]),
        ({"train": TRAIN + "batchsize = 3\n"}, ["[train] batchsize: unknown key; did you mean 'batch_size'? (known: ep"]),
        ({"data": DATA + "rule = 3\n"}, ["[data] rule: unknown key; did you mean 'rules'? (known: source, "]),
        ({"sweep": '[sweep]\nnam = "x"\n'},
         ["[sweep] name: is missing", "[sweep] nam: unknown key; did you mean 'name'? (known: name, utilisation"]),
        ({"sweep": '[sweep]\nname = "../x"\nutilisation = 36\n'},
         ["[sweep] name: must begin with a letter or digit and hold only letters, digits, '.', '_' and '-', not '../x'",
          "[sweep] utilisation: must be at most 1, not 36"]),
        ({"train": "[train]\nepochs = [1, -1, 0]\npeak_lr = [0.0]\nbatch_size = 0\nseeds = -1\n"},
         ["[train] epochs, value 2 of 3: must be greater than 0, not -1",
          "[train] epochs, value 3 of 3: must be greater than 0, not 0",
          "[train] peak_lr: must be greater than 0, not 0.0",
          "[train] batch_size: must be greater than 0, not 0",
          "[train] seeds: must be at least 0, not -1"]),
        ({"model": "[model]\nvariants = []\n", "train": "[train]\nepochs = []\npeak_lr = []\nseeds = []\n"},
         [f"{key}: is an empty list, so the grid is empty; give at least one value"
          for key in ("[model] variants", "[train] epochs", "[train] peak_lr", "[train] seeds")]),
        ({"train": '[train]\nepochs = ["a", [1]]\npeak_lr = "x"\nbatch_size = 64.5\nseeds = [1.0]\n'},
         ["[train] epochs, value 1 of 2: must be a number, not 'a'", "[train] epochs, value 2 of 2: must be a number, not [1]",
          "[train] peak_lr: must be a number, not 'x'", "[train] batch_size: must be a whole number, not 64.5",
          "[train] seeds: must be a whole number, not 1.0"]),
        ({"train": "[train]\nepochs = true\npeak_lr = [true]\nbatch_size = true\nseeds = false\nmomentum = true\n"},
         ["[train] epochs: must be a number, not true", "[train] peak_lr: must be a number, not true",
          "[train] batch_size: must be a whole number, not true", "[train] seeds: must be a whole number, not false",
          "[train] momentum: must be a number, not true"]),
        ({"sweep": '[sweep]\nname = "x"\nkeep_final = "yes"\n[devices]\nremat = 1\n'},
         ["[sweep] keep_final: must be true or false, not 'yes'", "[devices] remat: must be true or false, not 1"]),
        ({"train": "[train]\nepochs = [nan, inf]\npeak_lr = -inf\nweight_decay = nan\n"},
         ["[train] epochs, value 1 of 2: must be a finite number, not nan",
          "[train] epochs, value 2 of 2: must be a finite number, not inf", "[train] peak_lr: must be a finite number, not -inf",
          "[train] weight_decay: must be a finite number, not nan"]),
        ({"train": f"[train]\nimages = 1{'0' * 40}\npeak_lr = 1{'0' * 400}\nseeds = 99999999999\n"},
         ["[train] images: must be below 9007199254740992, not a number of more than 20 digits",
          "[train] peak_lr: must be a finite number, not a number of more than 20 digits",
          "[train] seeds: must be below 2147483648, not 99999999999"]),
        ({"train": TRAIN + "core_hours = [1]\n"},
         ["[train] exactly one of epochs, images and core_hours is the length; epochs and core_hours are given; keep one"]),
        ({"train": "[train]\npeak_lr = 1.0\n"},
         ["[train] exactly one of epochs, images and core_hours is the length; none is given; add one"]),
        ({"train": TRAIN + 'layout = "iso"\n'},
         ["[train] layout: 'iso' needs core_hours = [...], the equal-compute budgets, in place of epochs"]),
        ({"train": TRAIN + 'layout = "isso"\n'}, ["[train] layout: must be 'grid' or 'iso', not 'isso'; did you mean 'iso'?"]),
        ({"train": "[train]\nepochs = 1\npeak_lr = { around = -1.6, factr = 2, factor = 1, points = 0 }\n"},
         ["[train] peak_lr.around: must be greater than 0, not -1.6", "[train] peak_lr.factor: must be greater than 1, not 1",
          "[train] peak_lr.points: must be greater than 0, not 0",
          "[train] peak_lr.factr: unknown key; did you mean 'factor'? (known: around, factor, points)"]),
        ({"train": "[train]\nepochs = 1\npeak_lr = { factor = 2 }\n"}, [f"[train] peak_lr.around: is missing; write {BOUNDS}"]),
        ({"train": TRAIN + "around = 3\n"}, [f"[train] around: unknown key; it belongs inside {BOUNDS}"]),
        ({"data": '[data]\nsource = "heirarchy"\ntrain_images = 3\n'},
         ["[data] source: must be 'hierarchy', 'npz', 'cifar10', 'cifar100', 'folder', 'parquet' or 'arrayrecord', not 'heirarchy';"]),
        ({"data": "[data]\ntrain_images = 3\n"}, ["[data] source: is missing"]),
        ({"data": '[data]\nsource = "hierarchy"\n'},
         ["[data] train_images: is missing; the built-in images have no end, say how many to use"]),
        ({"data": DATA + "rules = [1, 2, 3]\nzipf_a = [1]\n"},
         ["[data] rules: 3 values for 2 levels; give one, or one per level",
          "[data] zipf_a: 1 value for 2 levels; give one, or one per level"]),
        ({"data": DATA + 'branching = "3"\nrules = [0, true]\nzipf_a = ["unif", -1]\n'},
         ["[data] rules: must be a whole number above 0, or a list of one per level, not [0, true]",
          '[data] branching: must be "2" or "2x2", or a list of one per level, not \'3\'',
          '[data] zipf_a: must be a number of at least 0 or "uniform", or a list of one per level, not [\'unif\', -1]']),
        ({"data": DATA + 'branching = "2"\nlevels = 3\n'},
         ["[data] rules: level 1 needs 100 x 32 distinct tuples of symbols, of which there are 1024; use at most 10 rules",
          '[data] branching: images of 4 x 8 pixels are not square; use an even number of levels with "2", or "2x2"']),
        ({"data": DATA + "classes = 1\nsymbols = 5000\npatch = 0\n"}, ["[data] patch: must be greater than 0, not 0"]),
        ({"data": DATA + "classes = 1\nsymbols = 5000\n"},
         ["[data] classes: must be a whole number from 2 to 65535, not 1",
          "[data] symbols: must be a whole number from 2 to 4096, not 5000"]),
        ({"data": DATA + "symbols = 2\n", "train": TRAIN + "seed = 1\n"},
         ["[data] rules: level 1 needs 100 x 32 distinct tuples of symbols, of which there are 16; use more symbols or fewer classes",
          "[data] rules: level 2 needs 2 x 32 distinct tuples of symbols, of which there are 16; use at most 8 rules",
          "[train] seed: unknown key"]),
        ({"data": DATA + 'path = "x"\n'}, ["[data] path: the built-in images are generated; leave path out, or use source"]),
        ({"data": '[data]\nsource = "npz"\n'}, ["[data] path: is missing; source = 'npz' reads a NumPy archive"]),
        ({"data": '[data]\nsource = "npz"\npath = "none.npz"\n'},
         ["[data] path: none.npz cannot be read (No such file or directory); name a NumPy archive"]),
        ({"data": '[data]\nsource = "npz"\npath = "none.npz"\nnoise = 1\nclasses = 3\n'},
         ["[data] classes, noise: belong to the built-in images, source = 'npz' has none; leave them out"]),
        ({"data": '[data]\nsource = "folder"\ncrop_area = [0.5]\npixel_std = [0, 1, 1]\ncrop_aspect = 1.0\n'},
         ["[data] crop_area: must be two numbers above 0, as [0.08, 1.0], not [0.5]",
          "[data] pixel_std: must be three numbers above 0, as [0.229, 0.224, 0.225], not [0, 1, 1]",
          "[data] crop_aspect: must be two numbers above 0, as [0.75, 1.33], not 1.0"]),
        ({"parts": "[part]\ntrain.epochs = 3\n"}, ["part must be written [[part]], once for each further grid"]),
        ({"parts": "[[part]]\ntrain.epochs = -3\ntrian.a = 1\n[[part]]\nmodel = 3\nsweep.name = 'x'\n"},
         ["part 1: unknown section [trian]; did you mean 'train'? (known: data, model, train, parent, zip, exclude, first, priority)",
          "part 1: [train] epochs: must be greater than 0, not -3",
          "part 2: model must be a section, [model] with keys below it",
          "part 2: unknown section [sweep] (known: data, model, train, parent, zip"]),
        ({"train": TRAIN + "seed = 1\n", "parts": "[[part]]\ntrain.seeds = 'a'\n"},
         ["[train] seed: unknown key; did you mean 'seeds'? (known: ", "part 1: [train] seeds: must be a whole number, not 'a'"]),
        ({"sweep": "foo = 1\nsweep = 3\n", "model": "", "train": "[trian]\na = 1\n", "data": DATA + "seed = -1\n"},
         ["unknown section [foo] (known: ", "sweep must be a section, [sweep] with keys below it",
          "unknown section [trian]; did you mean 'train'?", "section [model] is missing", "section [train] is missing",
          "[data] seed: must be at least 0, not -1"]),
        ({"train": "[train]\nepochs = [0.001, 1, 1e300]\npeak_lr = 1\n", "parts": "[[part]]\ntrain.core_hours = 1e-30\n"},
         ["[train] epochs, value 1 of 3: 0.001 epochs of 100 images are less than one image; raise it",
          "[train] epochs, value 3 of 3: 1e+300 epochs of 100 images are more than 9e+15 images; lower it",
          "part 1: [train] core_hours: 1e-30 core-hours buy N0 less than one image; raise it"]),
    ],
)  # fmt: skip
def test_every_mistake_is_one_line_with_place_and_mend(parts, lines):
    found = mistakes(**parts)
    assert len(found) == len(lines), found
    for line in lines:
        assert any(said.startswith(line) for said in found), (line, found)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[sweep\n", ":1: is not TOML: Expected ']' at the end of a table declaration (column 7)"),
        (b"a = 1\na = 2\n", ":2: is not TOML: Cannot overwrite a value (column 6)"),
        (b'a = 1\r\n\r\nb = """\n\n', ":4: is not TOML: Unterminated string (at end of document)"),
        (b"a = 1\n# \xff\xfe", ":2: is not TOML: 'utf-8' codec can't decode"),
        (None, ": cannot be read (No such file or directory); scalelaw init writes example specs"),
    ],
)
def test_what_is_no_spec_is_one_line_with_its_path(tmp_path, content, words):
    path = tmp_path / "x.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_spec(path)
    (message,) = caught.value.messages
    assert message.startswith(f"{path}{words}")
    assert "\n" not in message

"""A spec that extends another: what is taken over, what is refused, and what the results folder keeps of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_sweep_grids import FIELDS, HEAD, MODEL, TRAIN, planned

from scalelaw.errors import UserError
from scalelaw.sweep import expand, read_spec


def write(folder, **texts):
    for name, text in texts.items():
        path = folder / f"{name}.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return folder / f"{next(iter(texts))}.toml"


def test_a_spec_extends_another_over_several_levels(tmp_path):
    base = HEAD + MODEL + TRAIN + "seeds = [4]\n[devices]\nremat = true\n[[part]]\ntrain.peak_lr = 4\n"
    (tmp_path / "deep").mkdir()
    middle = 'extends = "deep/base.toml"\n[sweep]\nname = "m"\nutilisation = 0.5\n[train]\nimages = 7\n'
    top = 'extends = "middle.toml"\n[sweep]\nname = "top"\n[model]\nvariants = "N2"\n[[part]]\ntrain.seeds = 5\n'
    path = write(tmp_path, top=top, middle=middle)
    (tmp_path / "deep" / "base.toml").write_text(base)
    spec = read_spec(path)
    assert (spec.sweep.name, spec.sweep.utilisation, spec.devices.remat) == ("top", 0.5, True)
    found = [tuple(FIELDS[name](run) for name in ("variants", "epochs", "lr", "seed")) for run in expand(spec)]
    assert found == [("N2", 0.007, 0.5, 4), ("N2", 0.007, 1, 4), ("N2", 0.007, 4, 4), ("N2", 0.007, 0.5, 5),
                     ("N2", 0.007, 1, 5)]  # fmt: skip
    assert [layer.text for layer in spec.layers] == [base, middle, top]


def test_what_is_extended_changes_as_a_part_would_change_it(tmp_path):
    """Length, data source, zips: a file over another and a part over its file follow one rule."""
    base = HEAD + "[train]\nbatch_size = 8\n[[zip]]\nmodel.variants = ['N0', 'N1']\ntrain.epochs = [1, 2]\n"
    base += "train.peak_lr = [2, 1]\n"
    change = {"data": {"classes": 9}, "train": {"images": [5, 6], "batch_size": [4]}}
    text = "".join(f"[{name}]\n" + "".join(f"{k} = {v}\n" for k, v in keys.items()) for name, keys in change.items())
    upper = write(tmp_path, upper=f'extends = "base.toml"\n[sweep]\nname = "u"\n{text}', base=base)
    part = "[[part]]\n" + "".join(f"{name}.{k} = {v}\n" for name, keys in change.items() for k, v in keys.items())
    both = planned(base + part)
    assert [run.run_id for run in expand(read_spec(upper))] == [run.run_id for run in both[2:]]
    assert len(both) == 2 + 4


def test_inherited_exclusions_hold_and_need_not_match(tmp_path):
    base = HEAD + MODEL + TRAIN + "[[exclude]]\nmodel.variants = 'N1'\n[[exclude]]\ntrain.epochs = 2\n"
    path = write(
        tmp_path, a='extends = "base.toml"\n[sweep]\nname = "a"\n[model]\nvariants = ["N0", "N2"]\n', base=base
    )
    assert {(run.config.model.variant, run.cost.epochs) for run in expand(read_spec(path))} == {("N0", 1), ("N2", 1)}


def test_a_parsed_spec_alone_extends_nothing():
    with pytest.raises(UserError, match="extends needs a file"):
        planned('extends = "base.toml"\n' + HEAD + MODEL + TRAIN)


def test_a_note_is_a_files_own(tmp_path):
    base = (HEAD + MODEL + TRAIN).replace('"t"\n', '"t"\nnote = "of the base"\n')
    path = write(tmp_path, a='extends = "base.toml"\n[sweep]\nname = "a"\n', base=base)
    assert read_spec(path).sweep.note is None


def test_a_name_is_a_files_own(tmp_path):
    path = write(tmp_path, a='extends = "base.toml"\n', base=HEAD + MODEL + TRAIN)
    with pytest.raises(UserError) as caught:
        read_spec(path)
    assert caught.value.messages == (f"{path}:1: [sweep] name: is missing",)


@pytest.mark.parametrize(
    ("texts", "line"),
    [
        ({"a": "# one\nextends = 3\n"}, 'a.toml:2: extends must be the name of another spec, as extends = "base.toml"'),
        ({"a": 'extends = "b.toml"\n'}, "a.toml:1: extends {}/b.toml: cannot be read (No such file or directory)"),
        ({"a": 'extends = "b.toml"\n', "b": '\nextends = "a.toml"\n'},
         "b.toml:2: extends leads back to where it began ({0}/a.toml -> {0}/b.toml -> {0}/a.toml)"),
        ({"a": 'extends = "b.toml"\n', "b": "\n\n[sweep\n"}, "b.toml:3: is not TOML: Expected ']'"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_extended_is_said(tmp_path, texts, line):
    path = write(tmp_path, **texts)
    with pytest.raises(UserError) as caught:
        read_spec(path)
    (message,) = caught.value.messages
    assert message.startswith(f"{tmp_path}/" + line.format(tmp_path))


def test_the_folder_keeps_the_texts_of_all_files(tmp_path, monkeypatch):
    from scalelaw.cli.sweeps import record_sweep
    from scalelaw.runs import ResultsFolder

    monkeypatch.chdir(tmp_path)
    write(tmp_path, a='extends = "b.toml"\n[sweep]\nname = "a"\n', b='extends = "c.toml"\n', c=HEAD + MODEL + TRAIN)
    spec = read_spec(Path("a.toml"))
    record_sweep(ResultsFolder(tmp_path / "out", new=True), spec, expand(spec))
    record = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert record["spec"] == 'extends = "b.toml"\n[sweep]\nname = "a"\n'
    assert record["extends"] == {"b.toml": 'extends = "c.toml"\n', "c.toml": HEAD + MODEL + TRAIN}

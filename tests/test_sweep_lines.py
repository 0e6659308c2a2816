"""Every mistake in a spec comes with the line on which it stands, whichever file, part or table that is in."""

from __future__ import annotations

import re

import pytest
from test_sweep_spec import PARTS, test_every_mistake_is_one_line_with_place_and_mend

from scalelaw.errors import UserError
from scalelaw.sweep import expand, read_spec

(MARK,) = test_every_mistake_is_one_line_with_place_and_mend.pytestmark
CASES = [parts for parts, _ in MARK.args[1]]


def mistakes(path):
    with pytest.raises(UserError) as caught:
        expand(read_spec(path))
    return caught.value.messages


@pytest.mark.parametrize("parts", CASES)
def test_the_line_of_every_mistake_holds_its_key(tmp_path, parts):
    """Every case of bad specs there is: the line named is the one that has the key, or its section's header."""
    path = tmp_path / "spec.toml"
    path.write_text("# a comment\n\n" + "".join({**PARTS, **parts}.values()))
    text = path.read_text().splitlines()
    for message in mistakes(path):
        match = re.fullmatch(re.escape(str(path)) + r":(\d+): (?:part \d+: )?(.*)", message)
        assert match, message
        line, said = text[int(match[1]) - 1], match[2]
        key = re.match(r"\[\w+\] (?:\w+\.)?(\w+)(?=[,:])", said)
        section = re.search(r"(?:unknown section )?\[(\w+)\]|^(\w+) must be", said)
        assert section, said
        if "is missing" in said and said.startswith("section"):
            assert match[1] == "1"
        elif key and "is missing" not in said and any(row.startswith(key[1]) or f".{key[1]} " in row for row in text):
            assert key[1] in line, (line, message)
        else:
            assert any(word in line for word in ((section[1] or section[2]), "peak_lr")), (line, message)


SPEC = """extends = "base.toml"
[sweep]
name = "s"
[model]
variants = [
  "N0",
  # "N1",
  "N99",
]
[train]
peak_lr = { around = 1.6, factor = 1 }
seeds = [ 1,
  -2, 3 ]
"batch_size" = 0

[[part]]
train.seeds = [0]
[[part]]
train = { momentum = 2, "ema" = 1.5 }   # two in a line
[[part.zip]]
data.noise = [0.1,
              -1]
train.clipping = [1, 2]
[[part.exclude]]
train.epochs = [1,
  5]
"""
BASE = """[data]
source = "hierarchy"
train_images = 100
noize = 3
[train]
epochs = [1, 2]
peak_lr = 1

[[part]]
train.dropout = 1
"""


def test_lines_in_inherited_files_parts_inline_tables_and_lists_over_several_lines(tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text(SPEC)
    (tmp_path / "base.toml").write_text(BASE)
    found = [re.split(", not|; did| \\(known", line.removeprefix(f"{tmp_path}/"))[0] for line in mistakes(path)]
    assert sorted(found) == sorted([
        "base.toml:4: [data] noize: unknown key",
        "base.toml:10: part 1: [train] dropout: must be below 1",
        "spec.toml:8: [model] variants, value 2 of 2: unknown variant 'N99'",
        "spec.toml:11: [train] peak_lr.factor: must be greater than 1",
        "spec.toml:13: [train] seeds, value 2 of 3: must be at least 0",
        "spec.toml:14: [train] batch_size: must be greater than 0",
        "spec.toml:19: part 2: [train] momentum: must be below 1",
        "spec.toml:19: part 2: [train] ema: must be below 1",
        "spec.toml:22: part 2: [data] noise, value 2 of 2: must be at least 0",
    ])  # fmt: skip
    (tmp_path / "base.toml").write_text(BASE.replace("noize", "classes").replace("dropout = 1", "dropout = 0"))
    mended = (
        SPEC.replace('"N99"', '"N2"').replace("factor = 1 ", "").replace("-2", "2").replace('size" = 0', 'size" = 8')
    )
    path.write_text(mended.replace("1.6, }", "1.6 }").replace('= 2, "ema" = 1.5', "= 0"))
    assert mistakes(path) == (f"{path}:22: part 2: [data] noise, value 2 of 2: must be at least 0, not -1",)
    path.write_text(path.read_text().replace("-1]", "0.2]"))
    assert mistakes(path) == (f"{path}:26: exclude: no run has train.epochs = 5; mend it or leave it out",)


def test_what_only_the_grid_shows_has_its_line_too(tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text("".join(PARTS.values()) + "[[part]]\ntrain.seeds = 4\ntrain.core_hours = [1e-5,\n  1e-30]\n")
    last = len(path.read_text().splitlines())
    words = "part 1: [train] core_hours, value 2 of 2: 1e-30 core-hours buy N0 less than one image; raise it"
    assert mistakes(path) == (f"{path}:{last}: {words}",)


def test_no_text_may_hold_a_nul_which_no_file_system_takes(tmp_path):
    """Python ends with a ValueError where a path holds one."""
    path = tmp_path / "spec.toml"
    data = '[data]\nsource = "folder"\npath = "x\\u0000y"\n'
    parent = '[parent]\nweights = ["published.npz", "\\u0000"]\n'
    path.write_text("".join({**PARTS, "data": data, "parts": parent}.values()))
    said = "holds the character \\u0000; leave it out"
    assert mistakes(path) == (f"{path}:5: [data] path: {said}", f"{path}:12: [parent] weights: {said}")
    path.write_text('extends = "\\u0000"\n')
    assert mistakes(path) == (f"{path}:1: extends: {said}",)

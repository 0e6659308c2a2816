"""README is true: every command and every Python line in it runs, but for `make`, which CI itself is."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import scalelaw as sl
from scalelaw.sweep import check_spec, expand
from scalelaw.sweep.config import DataSection
from scalelaw.sweep.parents import ParentSection
from scalelaw.sweep.resources import RaySection
from scalelaw.sweep.sections import DevicesSection, TrainSection

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(bash|python)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
NOT_HERE = ("make ", "git clone", "cd scalelaw", "pip install")


def commands() -> list[list[str]]:
    """The shell commands of each block, comments cut off."""
    blocks = []
    for kind, text in BLOCKS:
        lines = [re.sub(r"\s+# .*", "", line) for line in text.splitlines()] if kind == "bash" else []
        kept = [line for line in lines if line.strip() and not line.startswith(("#", *NOT_HERE))]
        if kept:
            blocks.append(kept)
    return blocks


@pytest.fixture
def newcomer(tmp_path: Path) -> Path:
    """A folder as after `make demo`: the specs, and the recorded sweep as results/demo."""
    shutil.copytree(ROOT / "runs", tmp_path / "runs", ignore=shutil.ignore_patterns("recorded"))
    shutil.copytree(ROOT / "runs" / "recorded" / "demo", tmp_path / "results" / "demo")
    shutil.copytree(ROOT / "runs" / "recorded", tmp_path / "runs" / "recorded")
    return tmp_path


def run(line: str, folder: Path) -> str:
    """Runs one line as a newcomer would, with this environment's commands first on the path."""
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    answer = subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        capture_output=True,
        text=True,
        env={"PATH": path, "HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache")},
        check=False,
    )
    assert answer.returncode == 0, f"{line}\n{answer.stdout}\n{answer.stderr}"
    return answer.stdout


def trains(block: list[str]) -> bool:
    return any("digits" in line for line in block)


def test_every_command_runs(newcomer: Path) -> None:
    blocks = [block for block in commands() if not trains(block)]
    assert sum(len(block) for block in blocks) >= 8
    for block in blocks:
        for line in block:
            run(line, newcomer)
    assert (newcomer / "figures" / "figure2.pdf").stat().st_size > 5_000


def test_outputs_are_what_the_commands_print(newcomer: Path) -> None:
    examples = re.findall(r"^```console\n\$ (.*?)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    assert examples
    for command, output in examples:
        assert run(command, newcomer) == output


def test_exponents_of_the_recorded_sweep_are_those_that_frontier_prints() -> None:
    found = sl.frontier(sl.RunTable.load(ROOT / "runs" / "recorded" / "demo"))
    surface, equal = found.approaches["surface"]["size"], found.approaches["equal_compute"]["size"]
    low, high = found.loss.interval["alpha"]
    table = {f"| {-found.loss.params['alpha']:.3f} | {-high:.3f} to {-low:.3f} |"}
    for trend in (surface, equal, found.approaches["equal_compute"]["epochs"]):
        table.add("| {:.3f} | {:.3f} to {:.3f} |".format(trend.slope, *trend.interval["alpha"]))
    p = {one.approach: f"{one.p_value:.3f}" for one in found.same_rate}
    said = f"By the surface p = {p['surface']}, by equal compute p = {p['equal_compute']}"
    assert [words for words in (*table, said) if words not in README] == []


def test_the_recorded_sweep_is_the_demo(newcomer: Path) -> None:
    """The sweep of runs/demo.toml, run by run: nothing is left to train."""
    said = run("scalelaw sweep runs/demo.toml", newcomer)
    assert "nothing to train" in said
    assert "0.02% of held-out images have an exact twin in training" in said


@pytest.mark.slow
def test_the_digits_commands_train_and_draw(newcomer: Path) -> None:
    blocks = [block for block in commands() if trains(block)]
    assert len(blocks) == 2
    for block in blocks:
        for line in block:
            run(line, newcomer)
    assert (newcomer / "figures" / "digits" / "figure2.png").stat().st_size > 5_000


def test_keys_of_specs_are_known() -> None:
    specs = re.findall(r"^```toml\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    assert specs
    sections = {"data": DataSection, "train": TrainSection, "devices": DevicesSection, "ray": RaySection,
                "parent": ParentSection}  # fmt: skip
    for text in specs:
        said = tomllib.loads(text)
        if "sweep" in said:  # a whole spec
            assert expand(check_spec(said, "README.md"))
            continue
        for name, settings in said.items():
            whole = {**settings, "epochs": 1} if name == "train" else settings
            sections[name].model_validate(whole)


def test_every_python_line_runs(newcomer: Path) -> None:
    script = "\n".join(text for kind, text in BLOCKS if kind == "python")
    assert "sl.predict" in script
    path = newcomer / "tour.py"
    path.write_text(script, encoding="utf-8")
    out = run(f"python {path}", newcomer)
    assert "alpha" in out


def test_the_tables_list_every_law_and_every_warning() -> None:
    from scalelaw.fitting import CATALOGUE, OBJECTIVES
    from scalelaw.laws import LAWS

    rows = [line.strip("| ").split(" | ") for line in README.splitlines() if line.startswith("| ")]
    assert [(f"`{word}`", law.equation) for word, law in LAWS.items()] == [
        (row[0], row[1]) for row in rows if row[0].strip("`") in LAWS
    ]
    listed = rows[[row[0] for row in rows].index("warning") + 1 :]
    assert [(name, *texts) for name, texts in CATALOGUE.items()] == [tuple(row) for row in listed[: len(CATALOGUE)]]
    assert all(f"`{word}`" in README for word in OBJECTIVES)


def test_the_file_tree_names_what_is_there() -> None:
    """Every path in README's tree exists, and every module of the package is in it."""
    (tree,) = re.findall(r"^```text\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    named, folders = set(), [(-1, ROOT)]
    for line in tree.splitlines():
        entry = line.split("  ")[0] if not line.startswith(" ") else line.lstrip().split("  ")[0]
        depth = len(line) - len(line.lstrip())
        while folders[-1][0] >= depth:
            folders.pop()
        for name in entry.split():
            path = folders[-1][1] / name.rstrip("/")
            assert path.exists(), f"README's tree names {path.relative_to(ROOT)}, which is not there"
            named.add(path)
            if name.endswith("/"):
                folders.append((depth, path))
    modules = {
        path for path in (ROOT / "scalelaw").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    missing = {path.name for path in modules - named} - {"__init__.py", "__main__.py"}
    assert not missing, f"README's tree lacks {sorted(missing)}"

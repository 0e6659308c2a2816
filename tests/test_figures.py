"""Figures as files: same numbers, same bytes; every number drawn is in the JSON; what cannot be drawn is said."""

from __future__ import annotations

import copy
import json
import runpy
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from drawings import assert_apart, flat, outcomes_at, sweep, texts_in_view
from figure_cases import BY_CASE, ROOT, case, laid_out, simulated
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from test_figure1 import tuned

from scalelaw import figures
from scalelaw.errors import UserError
from scalelaw.figures import prediction, style


@BY_CASE
def test_every_number_drawn_is_in_the_json(which: str) -> None:
    (name, drawn), (figure, _) = case(which), laid_out(which)
    assert json.loads(json.dumps(drawn, allow_nan=False)) == drawn
    known = np.array(flat(drawn))
    plotted: list[float] = []
    for ax in figure.axes:
        lines = [line for line in ax.lines if line.get_color() != style.GUIDE]
        plotted += [value for line in lines for value in np.ravel(line.get_xydata())]
        plotted += [line.get_ydata()[0] for line in ax.lines if line.get_color() == style.GUIDE and name == "figure3"]
        for collection in ax.collections:
            assert isinstance(collection, (LineCollection, PolyCollection))
            plotted += [value for path in collection.get_paths() for value in np.ravel(path.vertices)]
    assert len(plotted) >= 8
    for value in plotted:
        assert np.isclose(known, value, rtol=1e-9, atol=0).any(), f"{value} is drawn and not in the JSON"


@pytest.mark.parametrize("which", ["figure2 full", "figure3 full", "frontier full"])
def test_redrawn_byte_for_byte_under_any_settings(which: str, tmp_path: Path) -> None:
    name, drawn = case(which)
    once = style.save(figures.FIGURES[name].make(drawn), tmp_path / "once", name, drawn)
    with matplotlib.rc_context({"font.size": 20, "axes.grid": True, "savefig.dpi": 40, "pdf.fonttype": 3}):
        before = dict(matplotlib.rcParams)
        again = style.save(figures.FIGURES[name].make(copy.deepcopy(drawn)), tmp_path / "again", name, drawn)
        assert dict(matplotlib.rcParams) == before
    assert json.loads(once[2].read_text()) == drawn
    assert [path.name for path in once] == [f"{name}.pdf", f"{name}.png", f"{name}.json"]
    for one, other in zip(once, again, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.suffix
    assert b"CreationDate" not in once[0].read_bytes()
    assert b"/FontFile2" in once[0].read_bytes()  # fonttype 42: TrueType, embedded


def test_another_process_writes_the_same_bytes_and_no_backend_is_chosen(tmp_path: Path) -> None:
    name, drawn = case("figure2 full")
    here = style.save(figures.FIGURES[name].make(drawn), tmp_path / "here", name, drawn)
    script = (
        "import json, sys, matplotlib; from scalelaw import figures; from scalelaw.figures import style\n"
        f"drawn = json.load(open({str(here[2])!r}))\n"
        f"style.save(figures.FIGURES[{name!r}].make(drawn), {str(tmp_path / 'there')!r}, {name!r}, drawn)\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "assert matplotlib.rcParams._get_backend_or_none() is None\n"
    )
    environment = {"PYTHONHASHSEED": "7", "PATH": "", "HOME": str(tmp_path), "MPLCONFIGDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, cwd=ROOT)
    for path in here:
        assert path.read_bytes() == (tmp_path / "there" / path.name).read_bytes(), path.suffix


@BY_CASE
def test_draw_takes_axes_gives_them_back_and_writes_nothing(
    which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, drawn = case(which)
    monkeypatch.chdir(tmp_path)
    sheet = figures.FIGURES[name]
    mine = Figure(figsize=(6, 8), layout="constrained")
    axes = list(np.atleast_1d(mine.subplots(sheet.layout(drawn).count, 1)))
    given_axes, before = (axes if sheet.several else axes[0]), copy.deepcopy(drawn)
    assert sheet.draw(given_axes, drawn) is given_axes
    assert drawn == before
    assert mine.axes == axes
    assert not any(tmp_path.iterdir())
    assert_apart(texts_in_view(mine))  # in the user's own fonts too


class TestWrite:
    def test_a_table_without_rates_gives_figure2_and_says_what_it_skipped(self, tmp_path: Path) -> None:
        table = simulated(models=3, rates=(1.6,), iso=0)
        written = figures.write(table, tmp_path)
        assert {path.name for path in written.paths} >= {"figure2.pdf", "figure2.png", "figure2.json"}
        assert [text for text in written.skipped if text.startswith("figure3: ")]
        assert {path.name for path in tmp_path.iterdir()} == {path.name for path in written.paths}
        with pytest.raises(UserError, match="figure3: "):
            figures.write(table, tmp_path / "asked", ["figure2", "figure3"])
        assert not (tmp_path / "asked").exists()

    def test_an_unknown_name_names_the_nearest(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="unknown figure 'figure22'; did you mean 'figure2'"):
            figures.write(simulated(models=2), tmp_path / "out", ["figure22"])
        assert not (tmp_path / "out").exists()

    def test_nothing_to_draw_is_an_error_that_names_every_reason(self, tmp_path: Path) -> None:
        with pytest.raises(UserError) as raised:
            figures.write(simulated(models=1, epochs=(1.0,), rates=(1.6,), iso=0), tmp_path / "out")
        assert [message.partition(":")[0] for message in raised.value.messages] == [
            name for name in figures.FIGURES if name not in TUNED
        ]
        assert not (tmp_path / "out").exists()

    def test_outcomes_stand_in_the_predictions_figure_which_must_then_be_drawn(self, tmp_path: Path) -> None:
        table = sweep(budgets=(2e10, 1e11))
        later = outcomes_at(4 * float(table.train_flop.max()))
        *_, path = figures.write(table, tmp_path / "out", ["prediction"], outcomes=later).paths
        assert json.loads(path.read_text()) == prediction.collect(table, later)
        with pytest.raises(UserError, match=r"prediction: .*no finished run"):
            figures.write(table, tmp_path / "none", outcomes=later.where(np.zeros(len(later), bool)))
        with pytest.raises(UserError, match="belong to the figure prediction, not to figure2"):
            figures.write(table, tmp_path / "none", ["figure2"], outcomes=later)
        assert not (tmp_path / "none").exists()

    def test_a_folder_that_cannot_be_written_changes_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("mine")
        for folder in (tmp_path / "file", Path("/proc/nowhere")):
            with pytest.raises(UserError, match="cannot write figure2"):
                figures.write(simulated(models=2, iso=0), folder, ["figure2"])
        assert (tmp_path / "file").read_text() == "mine"
        assert [path.name for path in tmp_path.iterdir()] == ["file"]


TUNED = ("figure1", "error_vs_loss")
"""Figures of fine-tuned runs."""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sweeps as scripts read them, pre-trained and fine-tuned."""
    folder = tmp_path_factory.mktemp("recorded")
    simulated().write(folder / "demo" / "runs.parquet")
    tuned().write(folder / "transfer" / "runs.parquet")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", figures.FIGURES)
def test_the_analysis_script_draws_a_recorded_sweep(
    name: str, recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = ROOT / "analysis" / f"{name}.py"
    monkeypatch.syspath_prepend(script.parent)
    runs = recorded / ("transfer" if name in TUNED else "demo")
    monkeypatch.setattr(sys, "argv", [str(script), str(runs), "-o", str(tmp_path)])
    runpy.run_path(str(script), run_name="__main__")
    printed = capsys.readouterr().out.split()
    assert printed == [str(tmp_path / f"{name}.{kind}") for kind in ("pdf", "png", "json")]
    assert all(Path(path).stat().st_size > 500 for path in printed)

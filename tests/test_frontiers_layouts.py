"""Every layout that a spec offers gives known exponents back or refuses, on one basis of compute."""

import json
from pathlib import Path

import numpy as np
import pytest

from scalelaw.cli import main
from scalelaw.errors import UserError
from scalelaw.frontiers import frontier
from scalelaw.simulate import RateBasin, Truth, balanced, draw, layout_of
from scalelaw.sweep import check_spec, read_spec

ROOT = Path(__file__).resolve().parents[1]
SPEC = {
    "sweep": {"name": "layouts"},
    "data": {"source": "hierarchy", "train_images": 16384},
    "model": {"variants": ["N0", "N1", "N2", "N3", "N4", "N5"]},
}
GRID = {"epochs": [0.125, 0.25, 0.5, 1, 2, 4, 8], "peak_lr": [0.8, 1.6, 3.2]}
ISO = {"layout": "iso", "core_hours": [2e-8, 5e-8, 1.2e-7, 3e-7, 7e-7], "peak_lr": [0.8, 1.6, 3.2]}
LAYOUTS = {
    "grid": layout_of(check_spec({**SPEC, "train": GRID}, "grid.toml")),
    "iso": layout_of(check_spec({**SPEC, "train": ISO}, "iso.toml")),
    "demo": layout_of(read_spec(ROOT / "runs" / "demo.toml")),
}
HONEST = "surface", "equal_compute"


def drawn(name, exponent=0.5, seed=0, noise=0.006):
    layout = LAYOUTS[name]
    rates = RateBasin(rate=layout.middle("peak_lr"), size=layout.middle("macs_per_image"))
    return draw(layout, Truth(balanced(layout, exponent), rates, noise=noise), seed).finished()


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("exponent", [0.3, 0.5, 0.7])
def test_known_exponents_are_recovered_or_refused(name, exponent):
    """Within .05 where the status is converged; the surface answers everywhere, equal compute on its own layout."""
    answered = dict.fromkeys(HONEST, 0)
    for seed in range(4):
        found = frontier(drawn(name, exponent, seed))
        for approach in HONEST:
            trends = found.approaches[approach]
            if trends["size"].status == "converged":
                answered[approach] += 1
                assert trends["size"].params["alpha"] == pytest.approx(exponent, abs=0.05)
                assert trends["epochs"].params["alpha"] == pytest.approx(1 - exponent, abs=0.05)
        if found.size.status == "converged":
            assert found.size.params["alpha"] == pytest.approx(exponent, abs=0.05)
    assert answered["surface"] >= 3
    assert (answered["equal_compute"] >= 2) if name == "iso" else (name == "demo" or not answered["equal_compute"])


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_envelope_never_makes_the_headline_and_says_when_its_ends_are_corners(name):
    found = frontier(drawn(name, 0.3))
    assert found.headline in HONEST
    envelope = found.approaches["envelope"]
    if name != "iso":
        assert {envelope[key].status for key in ("size", "data", "epochs")} == {"set_by_grid"}
    assert found.loss.status == "converged"


def test_every_quantity_has_exponent_interval_and_status():
    found = frontier(drawn("iso"))
    for approach in HONEST:
        trends = found.approaches[approach]
        assert set(trends) == {"size", "params", "data", "epochs"}
        assert trends["data"].slope == trends["epochs"].slope
        assert trends["data"].predict(1e-7).mid == pytest.approx(16384 * trends["epochs"].predict(1e-7).mid)
        for trend in trends.values():
            assert trend.interval["alpha"][0] < trend.slope < trend.interval["alpha"][1]
            assert trend.status == "converged"
    table = str(found)
    for quantity in ("macs_per_image", "params", "data", "epochs", "loss"):
        assert f"\n{quantity} " in table


def run(capsys, *argv):
    with pytest.raises(SystemExit) as end:
        main(["frontier", *map(str, argv)])
    return end.value.code, *capsys.readouterr()


@pytest.fixture
def table(tmp_path):
    """A table whose first half ran where core-hours are measured, at half the utilisation."""
    runs = drawn("iso")
    frame = runs.frame.copy()
    early = np.arange(len(frame)) < len(frame) // 2
    frame["core_hours_basis"] = np.where(early, "measured", "estimated")
    path = tmp_path / "runs.csv"
    frame.to_csv(path, index=False)
    return path


def test_a_basis_is_chosen_and_two_are_refused(capsys, table):
    code, out, err = run(capsys, table, "--json")
    assert (code, out) == (2, "")
    assert "a fit takes one basis" in err
    assert "--basis train_flop" in err
    code, out, _ = run(capsys, table, "--basis", "train_flop", "--json")
    assert code == 0
    flop = json.loads(out)
    assert {flop[key]["compute"] for key in ("size", "data", "epochs", "loss")} == {"train_flop"}
    code, out, _ = run(capsys, table, "--mixed-basis", "--json")
    hours = json.loads(out)
    assert hours["size"]["compute"] == "core_hours"
    assert any("core_hours_basis" in note for note in hours["notes"])
    assert hours["size"]["params"]["alpha"] == pytest.approx(flop["size"]["params"]["alpha"], rel=1e-6)


def test_core_hours_that_are_unknown_are_not_made_up(capsys, tmp_path):
    frame = drawn("iso").frame.drop(columns=["core_hours", "core_hours_basis"])
    frame.to_csv(tmp_path / "runs.csv", index=False)
    code, _, err = run(capsys, tmp_path / "runs.csv", "--basis", "core_hours")
    assert code == 2
    assert "has no core_hours; take --basis train_flop" in err
    code, out, _ = run(capsys, tmp_path / "runs.csv")
    assert code == 0
    assert "without core_hours: compute is train_flop" in out


def test_several_training_sets_leave_repeats_of_the_small_ones_out():
    """Fresh images of any set follow one surface; epochs refer to the largest set."""
    spec = {**SPEC, "train": GRID, "part": [{"data": {"train_images": 4096}}]}
    layout = layout_of(check_spec(spec, "two.toml"))
    runs = draw(layout, Truth(balanced(layout, 0.4), noise=0.004)).finished()
    # repeats of the smaller set go wrong: nothing of them may reach the surface
    spoilt = runs.frame.copy()
    bad = (spoilt["unique_images"] == 4096) & (spoilt["images_seen"] > 4096)
    spoilt.loc[bad, "val_loss"] *= 3
    clean, dirty = frontier(runs), frontier(type(runs).from_frame(spoilt))
    assert clean.unique_images == 16384
    cells = spoilt[bad].drop_duplicates(["variant", "images_seen"])
    assert any(f"{len(cells)} runs that repeat images of smaller ones are left out" in note for note in clean.notes)
    assert dirty.size.slope == clean.size.slope
    assert clean.size.slope == pytest.approx(0.4, abs=0.05)
    few = runs.where(runs.unique_images == 4096).frame
    few.loc[few.index[:2], "unique_images"] = 16384
    few = few[(few["images_seen"] > 4096) | (few["unique_images"] == 16384)]
    with pytest.raises(UserError, match="over the largest training set or repeat no image"):
        frontier(type(runs).from_frame(few))

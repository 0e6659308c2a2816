"""Optimal learning rates: parabolas with known vertices, edges as bounds, a trend that uses them."""

import json

import numpy as np
import pandas as pd
import pytest

from scalelaw.errors import UserError
from scalelaw.learning_rate import optimal_learning_rates
from scalelaw.runs import RunTable

GRID = (0.4, 0.8, 1.6, 3.2)


def sweep(seed=0, b=-0.1, c=-0.15, noise=0.003, rates=GRID, bend=0.02, skew=0.0, sizes=6, seeds=(0,)):
    """ln rate* = ln 1.2 + b ln(M / M0) + c ln epochs; loss has a basin of curvature `bend` in ln rate."""
    rng = np.random.default_rng(seed)
    rows = []
    for k in range(sizes):
        macs = 2e5 * 2**k
        for epochs in (0.25, 0.5, 1.0, 2.0, 4.0):
            best = np.log(1.2) + b * (k - 2.5) * np.log(2) + c * np.log(epochs)
            for rate in rates:
                for s in range(3) if k < 4 and epochs == 1 else seeds:
                    u = np.log(rate) - best
                    loss = (
                        3
                        * np.exp(bend * u * u + skew * u**3 + noise * rng.standard_normal())
                        * (epochs * macs) ** -0.05
                    )
                    rows.append(
                        {
                            "variant": f"N{k}", "status": "finished", "macs_per_image": macs, "params": macs / 3,
                            "epochs": epochs, "images_seen": round(32768 * epochs), "unique_images": 32768,
                            "batch_size": 64, "peak_lr": rate, "seed": s, "val_loss": loss,
                        }
                    )  # fmt: skip
    return RunTable.from_frame(pd.DataFrame(rows))


def cell(rates, losses, **more):
    return RunTable.from_frame(
        pd.DataFrame({"variant": "N0", "epochs": 1.0, "peak_lr": rates, "val_loss": losses, **more})
    )


def test_vertices_and_trend_are_exact_without_noise():
    found = optimal_learning_rates(sweep(noise=0.0))
    inside = found.cells[found.cells["bound"] == "inside"]
    k = np.log2(inside["macs_per_image"] / 2e5)
    expected = np.log(1.2) - 0.1 * (k - 2.5) * np.log(2) - 0.15 * np.log(inside["epochs"])
    np.testing.assert_allclose(np.log(inside["best_lr"]), expected, atol=1e-9)


def test_trend_is_recovered_and_its_intervals_cover():
    slopes, covered = [], []
    for seed in range(16):
        trend = optimal_learning_rates(sweep(seed)).trend
        assert trend.status == "converged"
        slopes.append([trend.params["b"], trend.params["c"]])
        covered += [
            low <= t <= high for (low, high), t in zip(list(trend.interval.values())[1:], (-0.1, -0.15), strict=True)
        ]
    np.testing.assert_allclose(np.mean(slopes, axis=0), (-0.1, -0.15), atol=0.02)
    assert np.mean(covered) >= 0.85


def test_bounds_pull_the_trend_the_right_way():
    """A steep trend leaves a narrow grid: leaving its bounds out flattens the slope, using them does not."""
    used, left_out = [], []
    for seed in range(8):
        table = sweep(seed, b=-0.3, noise=0.001)
        found = optimal_learning_rates(table)
        assert found.inside_share < 1
        used.append(found.trend.params["b"])
        inside = found.cells[found.cells["bound"] == "inside"]
        design = np.stack([np.ones(len(inside)), np.log(inside["macs_per_image"]), np.log(inside["epochs"])], axis=1)
        left_out.append(np.linalg.lstsq(design, np.log(inside["best_lr"]), rcond=None)[0][1])
    assert abs(np.mean(used) + 0.3) < 0.02
    assert abs(np.mean(left_out) + 0.3) > abs(np.mean(used) + 0.3)


def test_cell_intervals_cover():
    hits = []
    for seed in range(8):
        found = optimal_learning_rates(sweep(seed, noise=0.001))
        for row in found.cells[found.cells["bound"] == "inside"].itertuples():
            k = np.log2(row.macs_per_image / 2e5)
            expected = 1.2 * np.exp(-0.1 * (k - 2.5) * np.log(2) - 0.15 * np.log(row.epochs))
            hits.append(not row.low > expected and not row.high < expected)
    assert np.mean(hits) >= 0.9


@pytest.mark.parametrize(
    ("losses", "bound", "best"), [([3, 2, 1], "above", 4), ([1, 2, 3], "below", 1), ([2, 1, 2], "inside", 2)]
)
def test_an_edge_is_a_bound(losses, bound, best):
    row = optimal_learning_rates(cell([1.0, 2.0, 4.0], losses)).cells.iloc[0]
    assert row["bound"] == bound
    assert row["best_lr"] == pytest.approx(best)
    if bound == "above":
        assert row["low"] == pytest.approx(2.0)
        assert row["high"] is None or np.isnan(row["high"])
    if bound == "below":
        assert row["high"] == pytest.approx(2.0)
        assert row["low"] is None or np.isnan(row["low"])


def test_a_diverged_rate_brackets_from_above():
    table = cell([1.0, 2.0, 4.0], [2.0, 1.5, 9.0], status=["finished", "finished", "diverged"])
    row = optimal_learning_rates(table).cells.iloc[0]
    assert row["bound"] == "inside"
    assert row["best_lr"] == pytest.approx(2.0)
    assert (row["low"], row["high"]) == (pytest.approx(2**0.5), pytest.approx(4.0))  # half a step below, and up to it
    assert row["kind"] == "grid"


def configured(rate, images, seed=0, **train):
    """A row with the configuration that a trainer records."""
    config = {
        "data": {"source": "hierarchy", "train_images": 1000},
        "model": {"variant": "N0"},
        "train": {"images": images, "peak_lr": rate, "seed": seed, **train},
    }
    return {
        "variant": "N0", "status": "finished", "macs_per_image": 2e5, "unique_images": 1000, "images_seen": images,
        "epochs": images / 1000, "train_flop": 1.2e6 * images, "batch_size": 64, "peak_lr": rate, "seed": seed,
        "val_loss": 2.0, "config": json.dumps(config),
    }  # fmt: skip


def test_a_run_that_diverged_early_counts_in_the_cell_that_it_was_of():
    """Its columns say how far it came; two lengths whose highest rate diverges at once are two cells."""
    rows = []
    for images in (1000, 2000):
        rows += [{**configured(rate, images), "val_loss": loss} for rate, loss in ((1.0, 2.0), (2.0, 1.5))]
        early = {"status": "diverged", "images_seen": 128, "epochs": 0.128, "train_flop": 1.2e6 * 128, "val_loss": None}
        rows.append({**configured(8.0, images), **early})
    table = RunTable.from_frame(pd.DataFrame(rows))
    found = optimal_learning_rates(table)
    assert found.cells["epochs"].tolist() == [1.0, 2.0]
    assert found.cells["bound"].tolist() == ["inside", "inside"]
    assert found.cells["high"].tolist() == pytest.approx([8.0, 8.0])
    assert found.cells["runs"].tolist() == [3, 3]
    assert not found.at_edge(table.finished().best_over()).any()


def test_runs_of_other_settings_or_parents_are_cells_of_their_own():
    """They are no seeds of one another: each has its own optimum, and their differences are no noise."""
    basin = {0.5: 2.2, 1.0: 2.0, 2.0: 2.1}
    decays = [
        {**configured(rate, 1000, weight_decay=decay), "val_loss": loss * factor}
        for decay, factor in ((0.0, 1.0), (1e-3, 1.5))
        for rate, loss in basin.items()
    ]
    found = optimal_learning_rates(RunTable.from_frame(pd.DataFrame(decays)))
    assert found.cells["best_loss"].tolist() == pytest.approx([2.0, 3.0])
    assert found.noise is None
    tuned = [
        {**{name: value for name, value in configured(rate, 1000).items() if name != "config"}, "parent": parent,
         "val_loss": loss * factor}
        for parent, factor, losses in (("a", 1.0, basin), ("b", 1.5, {0.5: 2.0, 1.0: 2.1, 2.0: 2.2}))
        for rate, loss in losses.items()
    ]  # fmt: skip
    table = RunTable.from_frame(pd.DataFrame(tuned))
    found = optimal_learning_rates(table)
    assert found.cells["parent"].tolist() == ["a", "b"]
    assert found.cells["bound"].tolist() == ["inside", "below"]
    assert found.at_edge(table).tolist() == [False] * 3 + [True] * 3


def test_fine_tuned_runs_beside_others_are_left_out_and_said():
    table = sweep()
    mixed = pd.concat([table.frame, table.frame.assign(parent="a", val_loss=1.0)], ignore_index=True)
    found = optimal_learning_rates(RunTable.from_frame(mixed))
    assert found.trend.params == optimal_learning_rates(table).trend.params
    assert any(f"{len(table)} fine-tuned runs" in note for note in found.notes)


def test_a_run_of_unknown_loss_takes_no_part_in_the_noise():
    table = sweep(seeds=(0, 1))
    frame = table.frame.copy()
    frame.loc[0, "val_loss"] = np.nan
    found, without = (optimal_learning_rates(RunTable.from_frame(rows)) for rows in (frame, frame.drop(index=0)))
    assert found.noise == pytest.approx(without.noise)
    assert found.trend.params == without.trend.params


def test_noise_comes_from_seeds_and_else_from_curves():
    seeds = optimal_learning_rates(sweep(noise=0.004))
    assert seeds.noise_basis == "seeds"
    assert seeds.noise == pytest.approx(0.004, rel=0.4)
    table = sweep(noise=0.004, rates=(0.2, 0.4, 0.8, 1.6, 3.2, 6.4))
    single = table.where(table.seed == 0)
    curves = optimal_learning_rates(single)
    assert curves.noise_basis == "curves"
    assert curves.noise == pytest.approx(0.004, rel=0.4)


def test_three_rates_and_no_seeds_leave_the_interval_open():
    found = optimal_learning_rates(cell([1.0, 2.0, 4.0], [2.0, 1.0, 2.0]))
    assert found.noise is None
    assert found.cells["low"].isna().all()
    assert found.trend.status == "not_identified" or found.trend.status == "failed"
    assert found.notes


def test_noise_above_the_basin_opens_the_interval():
    found = optimal_learning_rates(sweep(noise=0.05, bend=0.01))
    inside = found.cells[found.cells["bound"] == "inside"]
    assert inside["low"].isna().any() or inside["high"].isna().any()


def test_single_rate_cells_are_left_out_and_named():
    table = sweep()
    fewer = table.where((table.epochs != 4.0) | (table.peak_lr == 1.6))
    found = optimal_learning_rates(fewer)
    assert len(found.cells) == 24
    assert any("6 of 30 cells" in note for note in found.notes)


def test_units_of_size_and_order_of_rows_do_not_matter():
    table = sweep()
    one = optimal_learning_rates(table)
    frame = table.frame.sample(frac=1, random_state=0)
    frame["macs_per_image"] *= 1e6
    other = optimal_learning_rates(RunTable.from_frame(frame))
    assert other.trend.params["b"] == pytest.approx(one.trend.params["b"], abs=1e-6)
    assert other.predict(1e12, 1.0).mid == pytest.approx(one.predict(1e6, 1.0).mid, rel=1e-5)


def test_to_dict_is_json_and_repeats_to_the_bit():
    first, second = (json.dumps(optimal_learning_rates(sweep()).to_dict(), allow_nan=False) for _ in range(2))
    assert first == second


def test_bad_tables_are_refused():
    with pytest.raises(UserError, match="peak_lr"):
        optimal_learning_rates(RunTable.from_frame(pd.DataFrame({"val_loss": [1.0], "variant": ["N0"]})))
    with pytest.raises(UserError, match="two learning rates"):
        optimal_learning_rates(cell([1.0], [2.0]))

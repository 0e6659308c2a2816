"""Programs found on disk are those that tracing gives; what decides them decides where they are found."""

from __future__ import annotations

import dataclasses
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="the trainer needs jax")

from jax.experimental.compilation_cache import compilation_cache  # noqa: E402
from jax.sharding import NamedSharding  # noqa: E402
from jax.sharding import PartitionSpec as P  # noqa: E402

from scalelaw import architecture  # noqa: E402
from scalelaw.sweep import recipes  # noqa: E402
from scalelaw.train import kept, mesh, step  # noqa: E402
from scalelaw.train.data import Order, hierarchy  # noqa: E402
from scalelaw.train.model import Model  # noqa: E402

BATCH = 16
MODEL = architecture.Variant("test", "nfnet", (8,), (1,), (1,), (8,), (1,), None)
RULES = dataclasses.replace(recipes.recipe("imagenet"), ema=0.9, dropout=0.2)
SOURCE = hierarchy.make(
    train_images=500, holdout_images=50, classes=4, symbols=8, levels=1, rules=2, patch=2, noise=0.1
)
MESH = mesh.mesh_of(mesh.Layout())
PLACED = NamedSharding(MESH, P())


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """JAX's cache in a folder of the test's own; gives ours beside it."""
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    compilation_cache.reset_cache()
    yield tmp_path / "scalelaw"
    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()


def shelf(source: object = SOURCE, *deciding: object) -> kept.Shelf:
    return kept.shelf(MESH, source, *deciding)


class Counted:
    """A function of two arrays, and how often it was traced."""

    def __init__(self, times: Any = 3.0) -> None:
        self.times, self.traced = times, 0

    def __call__(self, x: Any, y: Any) -> Any:
        self.traced += 1
        return {"sum": x + y * self.times}

    def on(self, place: kept.Shelf, *, reuse: bool = False, x: Any = None) -> Any:
        """The program for two arrays of four numbers."""
        x = jax.device_put(np.arange(4, dtype=np.float32) if x is None else x, PLACED)
        program = place.program("add", self, (x, x), given=(PLACED, PLACED), into=PLACED, reuse=reuse)
        return np.asarray(program(x, jax.device_put(np.ones_like(x), PLACED))["sum"])


def trained(layout: mesh.Layout) -> tuple[list[float], list[Any]]:
    """Losses of five steps and all that an evaluation and the state hold after them."""
    programs = step.build(MODEL, SOURCE, RULES, BATCH, layout)
    state, losses = programs.start(3), []
    for batch in SOURCE.feed(Order(1, 500, 5 * BATCH, BATCH), 0, programs.rows):
        before = jax.tree.leaves(state["momentum"])
        state, metrics = programs.train(state, SOURCE.arrays, batch, np.float32(0.3))
        assert all(leaf.is_deleted() for leaf in before), "a step reuses the memory of the state before it"
        losses.append(float(metrics["loss"]))
    held = next(SOURCE.held_out(programs.evaluation_size, 10, programs.evaluation_rows))
    return losses, [*jax.tree.leaves(programs.evaluate(state, SOURCE.arrays, held)), *jax.tree.leaves(state)]


@pytest.mark.slow
@pytest.mark.parametrize("layout", [mesh.Layout(), mesh.Layout(accumulate=2, remat=True)])
def test_found_programs_train_bit_for_bit_like_traced_ones_and_trace_nothing(folder, layout, monkeypatch):
    plain_losses, plain = trained(layout)
    assert len(list(folder.glob("*.program"))) == (2 if layout.accumulate == 1 else 4)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("traced, though it is on the shelf")

    for name in ("gradients", "sums"):
        monkeypatch.setattr(Model, name, refuse)
    found_losses, found = trained(layout)
    assert found_losses == plain_losses
    for a, b in zip(plain, found, strict=True):
        np.testing.assert_array_equal(a, b)
    monkeypatch.undo()
    jax.config.update("jax_compilation_cache_dir", None)
    without_losses, without = trained(layout)
    assert without_losses == plain_losses
    for a, b in zip(plain, without, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_program_is_traced_once_for_what_decides_it(folder, monkeypatch):
    add = Counted()
    for _ in range(3):
        np.testing.assert_array_equal(add.on(shelf()), [3, 4, 5, 6])
        assert add.traced == 1
    others = [shelf(SOURCE, "another recipe"), shelf(Counted())]
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    others.append(shelf())
    monkeypatch.undo()
    with jax.default_matmul_precision("highest"):
        others.append(shelf())
    monkeypatch.setattr(kept, "_cpu", lambda: "another machine")
    others.append(shelf())
    monkeypatch.undo()
    for count, other in enumerate(others, 2):
        np.testing.assert_array_equal(add.on(other), [3, 4, 5, 6])
        assert add.traced == count
    add.on(shelf(), x=np.zeros(5, np.float32))
    assert add.traced == len(others) + 2, "another shape is another program"
    add.on(shelf())
    assert add.traced == len(others) + 2


def test_sources_that_leave_the_program_as_it_was_cost_no_compilation(folder, monkeypatch):
    add, heard = Counted(), []
    add.on(shelf())
    monkeypatch.setattr(kept, "_package", lambda: "changed sources")
    monkeypatch.setattr(kept, "_compiled", lambda *given: heard.append(given))
    np.testing.assert_array_equal(add.on(shelf()), [3, 4, 5, 6])
    assert (add.traced, heard) == (2, [])
    assert len(list(folder.glob("*.program"))) == 1
    assert len(list(folder.glob("*.txt"))) == 2


def test_a_change_of_a_constant_alone_is_another_program(folder, monkeypatch):
    """A text that left long constants out would take one for the other."""
    long = np.linspace(0, 1, 5000, dtype=np.float32)
    zeros = np.zeros(5000, np.float32)
    first = Counted(long).on(shelf(), x=zeros)
    changed = long.copy()
    changed[2500] = 7
    monkeypatch.setattr(kept, "_package", lambda: "changed sources")
    second = Counted(changed).on(shelf(), x=zeros)
    np.testing.assert_array_equal(first, long)
    np.testing.assert_array_equal(second, changed)


@pytest.mark.parametrize("damage", ["torn", "empty", "flipped", "foreign", "gone"])
@pytest.mark.parametrize("kind", ["program", "txt"])
def test_damaged_files_are_traced_anew_and_mended(folder, damage, kind):
    add = Counted()
    add.on(shelf())
    (file,) = folder.glob(f"*.{kind}")
    whole = file.read_bytes()
    if damage == "gone":
        file.unlink()
    elif damage == "foreign":  # whole, but of another version
        kept._write(file, pickle.dumps(("not", "a", "program")))
    else:
        file.write_bytes({"torn": whole[: len(whole) // 2], "empty": b"", "flipped": whole[:-1] + b"?"}[damage])
    np.testing.assert_array_equal(add.on(shelf()), [3, 4, 5, 6])
    assert add.traced == 2
    np.testing.assert_array_equal(add.on(shelf()), [3, 4, 5, 6])
    assert add.traced == 2, "what was damaged is whole again"


def test_nothing_is_kept_where_nothing_can_be(folder, monkeypatch):
    add = Counted()
    folder.parent.joinpath("scalelaw").write_text("a file where the folder would be")
    np.testing.assert_array_equal(add.on(shelf()), [3, 4, 5, 6])
    kind = type("Unwritten", (), {"__module__": "nowhere"})
    assert shelf(kind()).folder is None
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    assert shelf().folder is None
    monkeypatch.undo()
    jax.config.update("jax_compilation_cache_dir", None)
    assert shelf().folder is None
    np.testing.assert_array_equal(add.on(shelf()), [3, 4, 5, 6])


def test_what_nobody_asks_for_makes_room(folder):
    Counted().on(shelf())
    (old,) = folder.glob("*.program")
    os.utime(old, (0, 0))
    Counted(5.0).on(shelf(SOURCE, "another"))
    assert not old.exists()
    assert len(list(folder.glob("*.program"))) == 1


class Hostile:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("which", ["folder", "file"])
def test_what_others_may_write_is_never_unpickled(folder, tmp_path, which):
    add, mark = Counted(), tmp_path / "mark"
    add.on(shelf())
    (program,) = folder.glob("*.program")
    kept._write(program, pickle.dumps(Hostile(mark)))
    (folder if which == "folder" else program).chmod(0o777)
    np.testing.assert_array_equal(add.on(shelf()), [3, 4, 5, 6])
    assert not mark.exists()
    assert add.traced == 2

"""Checkpoints: restored bit for bit, whole or passed over, and only where they belong."""

from __future__ import annotations

import dataclasses
import gc
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="the trainer needs jax")

from scalelaw.train import origin  # noqa: E402
from scalelaw.train.checkpoint import Checkpoints  # noqa: E402
from scalelaw.train.mesh import Layout  # noqa: E402


def state(seed: int) -> dict[str, Any]:
    """Arrays of several types; the largest is kept in a file of its own, which has no checksum of orbax."""
    keys = jax.random.split(jax.random.key(seed), 3)
    return {
        "params": {"a": {"w": jax.random.normal(keys[0], (150, 200))}, "b": jax.random.normal(keys[1], (5,))},
        "momentum": (jax.random.normal(keys[2], (3,)).astype("bfloat16"), ()),
        "step": jax.numpy.int32(seed),
    }


def like(tree: Any) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)


def here(**changes: Any) -> origin.Origin:
    found = origin.here({"run": "abc", "batch size": 16}, state(0), Layout(), threads=1)
    return dataclasses.replace(found, **changes)


def opened(folder: Path, said: list[str] | None = None, **more: Any) -> Checkpoints:
    warn = said.append if said is not None else pytest.fail
    return Checkpoints(folder / "checkpoint", more.pop("origin", here()), warn=warn, **more)


def saved(folder: Path, *steps: int, **more: Any) -> None:
    checkpoints = opened(folder, **more)
    for step in steps:
        assert checkpoints.save(step, state(step), {"standing": {"step": step}})
    checkpoints.close()


def equal(left: Any, right: Any) -> bool:
    same = jax.tree.map(lambda a, b: a.dtype == b.dtype and np.array_equal(np.asarray(a), np.asarray(b)), left, right)
    return all(jax.tree.leaves(same))


def test_a_state_comes_back_bit_for_bit_with_what_was_beside_it(tmp_path):
    saved(tmp_path, 3)
    found, beside = opened(tmp_path).restore(like(state(0)))
    assert equal(found, state(3))
    assert jax.tree.structure(found) == jax.tree.structure(state(3))
    assert beside["standing"] == {"step": 3}


def test_a_step_may_reuse_the_memory_of_what_is_being_written(tmp_path):
    step = jax.jit(lambda tree: jax.tree.map(lambda x: (x * 3 + 1).astype(x.dtype), tree), donate_argnums=0)
    checkpoints, now = opened(tmp_path), {"w": jax.numpy.ones(500_000)}
    for number in range(1, 4):
        now = step(now)
        expected = np.array(now["w"])
        checkpoints.save(number, now, {})
        for _ in range(20):
            now = step(now)
        checkpoints.close()
        found, _ = opened(tmp_path).restore(like(now))
        np.testing.assert_array_equal(found["w"], expected)


def test_the_last_k_are_kept(tmp_path):
    saved(tmp_path, 1, 2, 3, 4, kept=2)
    assert opened(tmp_path).steps() == [3, 4]


def test_none_is_none(tmp_path):
    assert opened(tmp_path).restore(like(state(0))) is None
    assert not (tmp_path / "checkpoint").exists()


def test_what_a_kill_leaves_aside_is_no_checkpoint(tmp_path):
    saved(tmp_path, 1)
    torn = tmp_path / "checkpoint" / "2.orbax-checkpoint-tmp"
    torn.mkdir()
    checkpoints = opened(tmp_path)
    assert checkpoints.steps() == [1]
    _, beside = checkpoints.restore(like(state(0)))
    assert beside["standing"]["step"] == 1
    checkpoints.save(2, state(2), {}, wait=True)
    assert not torn.exists()


def damages(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size > 0)


# Orbax leaves the reads of a failed restoration to themselves.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("how", ["cut", "bit", "gone"])
def test_a_damaged_one_is_passed_over_with_a_warning_or_does_no_harm(tmp_path, how):
    """Every file of the newest checkpoint in turn: it is read right, or the one before is."""
    template = tmp_path / "template"
    saved(template, 1, 2)
    names = [path.relative_to(template) for path in damages(template / "checkpoint" / "2")]
    passed_over = 0
    for number, name in enumerate(names):
        folder = tmp_path / str(number)
        subprocess.run(["cp", "-r", template, folder], check=True)
        path = folder / name
        if how == "cut":
            os.truncate(path, path.stat().st_size // 2)
        elif how == "bit":
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 0x10
            path.write_bytes(bytes(content))
        else:
            path.unlink()
        said: list[str] = []
        checkpoints = opened(folder, said)
        found, beside = checkpoints.restore(like(state(0)))
        step = beside["standing"]["step"]
        assert equal(found, state(step)), name
        if step == 1:
            passed_over += 1
            assert len(said) == 1
            assert "checkpoint of step 2 cannot be read" in said[0]
            assert "step 1 is taken" in said[0]
            assert checkpoints.steps() == [1]
            if passed_over == 1:
                checkpoints.save(2, state(2), {}, wait=True)  # its place is free again
                assert checkpoints.steps() == [1, 2]
        checkpoints.close()
    assert passed_over >= 3
    gc.collect()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_when_all_are_damaged_the_run_begins_again(tmp_path):
    saved(tmp_path, 1, 2)
    for path in damages(tmp_path / "checkpoint"):
        path.write_bytes(b"")
    said: list[str] = []
    assert opened(tmp_path, said).restore(like(state(0))) is None
    assert ["step 1 is taken" in said[0], "begins again" in said[1]] == [True, True]
    gc.collect()


def test_other_shapes_are_another_versions(tmp_path):
    saved(tmp_path, 1)
    said: list[str] = []
    other = {**state(0), "more": jax.numpy.zeros(3)}
    assert opened(tmp_path, said).restore(like(other)) is None
    assert "other names, shapes or types" in said[0]


@pytest.mark.parametrize(("group", "name"), [("work", "batch size"), ("place", "devices"), ("place", "threads")])
def test_a_changed_origin_is_refused_with_what_changed(tmp_path, group, name):
    saved(tmp_path, 1)
    changed = here(**{group: {**getattr(here(), group), name: 3}})
    with pytest.raises(origin.Elsewhere, match=f"{name} .*, now 3"):
        opened(tmp_path, origin=changed).restore(like(state(0)))
    allowed = opened(tmp_path, origin=changed, any_devices=True)
    if group == "work":
        with pytest.raises(origin.Elsewhere):
            allowed.restore(like(state(0)))
    else:
        found, _ = allowed.restore(like(state(0)))
        assert equal(found, state(1))
        assert allowed.remarks == [f"went on elsewhere, equal only up to rounding: was {name} 1, now 3"]
        allowed.save(2, state(2), {"standing": {"step": 2}}, wait=True)
        allowed.close()
        again = opened(tmp_path, origin=changed)  # no flag needed any more, and not forgotten
        again.restore(like(state(0)))
        assert again.remarks == allowed.remarks


def test_other_software_is_remarked(tmp_path):
    saved(tmp_path, 1)
    checkpoints = opened(tmp_path, origin=here(software={**here().software, "jax": "99"}))
    checkpoints.restore(like(state(0)))
    (remark,) = checkpoints.remarks
    assert "now 99" in remark


def test_a_checkpoint_that_cannot_be_written_is_a_warning(tmp_path):
    (tmp_path / "checkpoint").write_text("in the way")
    said: list[str] = []
    checkpoints = opened(tmp_path, said)
    assert not checkpoints.save(1, state(1), {}, wait=True)
    assert "no checkpoint at step 1" in said[0]


def test_orbax_is_not_imported_before_a_checkpoint_is():
    code = "import sys, scalelaw.train.worker; sys.exit('orbax.checkpoint' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

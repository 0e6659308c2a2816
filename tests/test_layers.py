"""Arrows point down only, and what is light stays light."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def loaded_by(code: str) -> set[str]:
    """The top-level packages that a fresh interpreter has imported after `code`."""
    script = f"{code}\nimport sys, json\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd="/")
    return set(json.loads(answer.stdout.splitlines()[-1]))


def test_layers_hold():
    """The contracts of pyproject.toml: if this fails, something imports upwards or pulls in jax or matplotlib."""
    linter = Path(sys.executable).with_name("lint-imports")
    answer = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout
    assert "arrows point down only KEPT" in answer.stdout
    assert "0 broken" in answer.stdout


def test_importing_the_package_imports_nothing_heavy():
    heavy = {"numpy", "scipy", "pandas", "pyarrow", "jax", "flax", "optax", "matplotlib", "pydantic"}
    assert not loaded_by("import scalelaw") & heavy


def test_a_fit_needs_neither_jax_nor_matplotlib():
    code = (
        "import scalelaw as sl, pandas as pd\n"
        "runs = sl.RunTable.from_frame(pd.DataFrame({'C': [1e9, 1e10, 1e11, 1e12], 'N': [1e3, 1e4, 1e5, 1e6],"
        " 'loss': [4.0, 3.0, 2.3, 1.8]}))\n"
        "found = sl.fit(sl.laws.PowerLaw, C=runs.variable('C')[0], L=runs.val_loss)\n"
        "assert 0.1 < found.params['alpha'] < 0.2, found"
    )
    loaded = loaded_by(code)
    assert {"scalelaw", "numpy", "pandas"} <= loaded
    assert not loaded & {"jax", "jaxlib", "flax", "optax", "matplotlib"}


def test_planning_a_sweep_needs_neither_jax_nor_matplotlib(tmp_path):
    spec = tmp_path / "spec.toml"
    spec.write_text(
        '[sweep]\nname = "s"\n[data]\nsource = "hierarchy"\ntrain_images = 10\n[model]\nvariants = ["N0"]\n'
        "[train]\nepochs = 1\npeak_lr = 1.0\n"
    )
    loaded = loaded_by(
        f"from pathlib import Path\nfrom scalelaw.sweep import read_spec, expand\nfrom scalelaw.launch import local\n"
        f"assert len(expand(read_spec(Path({str(spec)!r})))) == 1"
    )
    assert "pydantic" in loaded
    assert not loaded & {"jax", "jaxlib", "flax", "optax", "matplotlib"}


HELP = """
import sys
sys.argv = ["scalelaw", "--help"]
from scalelaw.cli import main
try:
    main()
except SystemExit as end:
    assert end.code == 0
"""


def test_help_imports_nothing_heavy():
    assert not loaded_by(HELP) & {"numpy", "scipy", "pandas", "pyarrow", "pydantic", "jax", "matplotlib"}


def test_help_answers_at_once():
    """Under 0.4 s of processor time, which unlike the clock does not depend on what else the machine does."""
    import resource

    spent = []
    for _ in range(3):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        answer = subprocess.run([sys.executable, "-m", "scalelaw", "--help"], capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(min(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.monotonic() - began))
        assert answer.returncode == 0
        for command in ("sweep", "run", "status", "fit", "frontier", "predict", "figures", "variants", "init"):
            assert command in answer.stdout
    assert min(spent) < 0.4

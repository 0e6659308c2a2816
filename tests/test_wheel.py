"""Who has only the wheel fits without jax."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = """
import importlib.util, sys
import numpy as np
import scalelaw as sl
assert importlib.util.find_spec("jax") is None
C = np.geomspace(1e3, 1e5, 9)
fit = sl.fit(sl.laws.PowerLaw, C=C, L=5.0 * C**-0.05)
assert abs(fit.params["alpha"] - 0.05) < 1e-9
assert "matplotlib" not in sys.modules
print("site-packages" in sl.__file__)
"""
FIGURES = [f"figure{number}{size}" for number in (2, 3) for size in ("", "-gpu", "-laptop")]


def run(*command: str | Path, cwd: Path) -> str:
    answer = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def test_the_wheel_holds_what_init_writes_and_all_that_those_specs_extend() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert included == {name: f"scalelaw/specs/{Path(name).name}" for name in included}
    assert {Path(name).stem for name in included} >= {"demo", "digits", "images", *FIGURES}
    for name in included:
        base = tomllib.loads((ROOT / name).read_text(encoding="utf-8")).get("extends")
        assert base is None or f"runs/{base}" in included


@pytest.mark.slow
def test_the_wheel_fits_in_an_environment_without_jax(tmp_path: Path) -> None:
    pip = ("-m", "pip", "--disable-pip-version-check", "--quiet")
    run(sys.executable, *pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, ROOT, cwd=tmp_path)
    (wheel,) = tmp_path.glob("scalelaw-*.whl")
    venv.create(tmp_path / "bare", with_pip=True)
    python = tmp_path / "bare" / "bin" / "python"
    run(python, *pip, "install", "-c", ROOT / "constraints.txt", wheel, cwd=tmp_path)
    assert run(python, "-c", SCRIPT, cwd=tmp_path).strip() == "True"
    run(python, "-m", "scalelaw", "init", "specs", cwd=tmp_path)
    assert {path.name for path in (tmp_path / "specs").iterdir()} >= {"demo.toml", "digits.toml", "images.toml"}
    for spec in ("demo", *FIGURES):
        run(python, "-m", "scalelaw", "sweep", f"specs/{spec}.toml", "--dry-run", cwd=tmp_path)
    refused = subprocess.run(
        [str(python), "-m", "scalelaw", "run", "specs", "abc"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr

"""Notes beside the runs of a folder: which of their images the parents were trained on too."""

from __future__ import annotations

from pathlib import Path

from scalelaw.runs import files

_WITHOUT = "-without-"


def file_of(root: Path, task: tuple[str, int], parent: tuple[str, int]) -> Path:
    """Where it is noted for a task and a parent's images, both by name and number of training images."""
    return root / f"{task[0]}-{task[1]}{_WITHOUT}{parent[0]}-{parent[1]}.json"


def sentences(root: Path) -> list[str]:
    """One sentence for each pair of a task and a parent's images."""
    found = []
    for path in sorted(root.glob(f"*{_WITHOUT}*.json")):
        facts, (task, parent) = files.read_json(path), path.stem.split(_WITHOUT)
        train, held = facts["train_twins"], facts["holdout_twins"]
        found.append(f"{train:,} training and {held:,} held-out images of {task} are among the parents' ({parent}); "
                     + ("fresh ones took their place" if train + held else "all stay"))  # fmt: skip
    return found

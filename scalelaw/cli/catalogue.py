"""The commands that need no results: variants, init."""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional

from scalelaw.cli.tables import Json, print_json
from scalelaw.text import columns


def variants(
    resolution: int = 224,
    classes: int = 1000,
    family: str = "nfnet",
    utilisation: float = 0.36,
    json: Json = False,
) -> int:
    """Lists every buildable model: parameters, multiply-adds, core-hours per 1e9 images.

    Args:
        resolution: Side of a training image in pixels.
        classes: Number of classes.
        family: Model family.
        utilisation: Share of the TPU-v4 peak that training reaches.
    """
    from scalelaw import architecture, compute
    from scalelaw.errors import UserError, nearest

    mistakes = [f"--{name} {value}: must be at least 1" for name, value in
                (("resolution", resolution), ("classes", classes)) if value < 1]  # fmt: skip
    if not 0 < utilisation <= 1:
        mistakes.append(f"--utilisation {utilisation}: must be above 0 and at most 1")
    known = list(architecture.FAMILIES)
    if family not in known:
        mistakes.append(f"--family {family}: unknown{nearest(family, known)} (known: {', '.join(known)})")
    if mistakes:
        raise UserError(*mistakes)
    listed = []
    for model in architecture.FAMILIES[family].values():
        size = architecture.size(model, resolution, classes)
        hours = compute.core_hours(compute.train_flop(size.macs_per_image, 1e9), utilisation)
        listed.append({"variant": model.name, "params": size.params, "macs_per_image": size.macs_per_image,
                       "core_hours_per_1e9_images": hours})  # fmt: skip
    if json:
        print_json({"utilisation": utilisation, "resolution": resolution, "classes": classes, "variants": listed})
        return 0
    print(
        f"{resolution}x{resolution} pixels, {classes} classes; core-hours at {utilisation:.0%} of a TPU-v4 core's peak"
    )
    lines = [("variant", "parameters", "multiply-adds/image", "core-hours/1e9 images")]
    lines += [(str(row["variant"]), f"{row['params']:,}", f"{row['macs_per_image']:.4g}",
               f"{row['core_hours_per_1e9_images']:.4g}") for row in listed]  # fmt: skip
    print(*columns(lines, left=(0,)), sep="\n")
    return 0


def init(folder: Positional[Path] = Path("runs")) -> int:
    """Writes the example specs, for those who have only the wheel.

    Args:
        folder: Where to; files that are there stay as they are.
    """
    from scalelaw.errors import UserError
    from scalelaw.runs import files

    package = Path(__file__).resolve().parents[1]
    home = package / "specs" if (package / "specs").is_dir() else package.parent / "runs"
    specs = sorted(home.glob("*.toml"))
    if not specs:
        raise UserError(f"{home}: holds no example specs; install scalelaw again")
    for spec in specs:
        target = folder / spec.name
        if target.exists():
            print(f"{target} is there already, left as it is")
        else:
            files.write_text(target, spec.read_text(encoding="utf-8"))
            print(f"{target} written")
    return 0

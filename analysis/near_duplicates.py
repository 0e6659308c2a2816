"""What `scalelaw dedup` finds of made copies, and what it finds by chance among different images.

    python analysis/near_duplicates.py                  # about five minutes on two cores
    python analysis/near_duplicates.py --images 2000 --copies 50 -o FOLDER

No set of photographs comes with this package. So most images here are made: opaque discs of all sizes over one another,
which have edges and spectrum of photographs, not their meaning; beside them tiles of two photographs, the built-in
images at eight times their size, and handwritten digits of 8 x 8 pixels. Every number comes from files on disk through
the whole command. Copies are looked for both ways: the copy held out, and the original held out.

Chance: all pairs of different images of a set, each in 34 views.

Writes near_duplicates.json and near_duplicates.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from coverage import provenance
from made_images import COPIES, Pixels, dead_leaves, photographs, save
from scipy.stats import chi2

from scalelaw.dedup import hashing, pairs, sources
from scalelaw.dedup.hashes import RADIUS
from scalelaw.dedup.verify import LEAST


def hashed(folder: Path) -> pairs.Hashed:
    """The images of a folder."""
    kept = hashing.keep(sources.listing(folder), folder.parent / "thumbnails", workers=2)
    assert not kept.mistakes
    return pairs.hashed(kept)


def generated(images: int) -> list[Pixels]:
    """The built-in images of a grammar of many rules, eight times as large."""
    import jax.numpy as jnp

    from scalelaw.train.data import hierarchy

    source = hierarchy.make(train_images=images, classes=16, levels=3, patch=1, rules=(256, 16, 16), zipf_a=0.5)
    drawn, _ = source.batch(source.arrays, jnp.arange(images))
    values = np.asarray(drawn, np.float32)
    values = 255 * (values - values.min()) / (values.max() - values.min())
    return list(values.astype(np.uint8).repeat(8, axis=1).repeat(8, axis=2))


def digits() -> list[Pixels]:
    """Scikit-learn's handwritten digits, 8 x 8."""
    from sklearn.datasets import load_digits

    images = (load_digits().images * (255 / 16)).astype(np.uint8)
    return list(images[..., None].repeat(3, axis=3))


def recall(originals: list[Pixels], root: Path) -> dict[str, dict[str, Any]]:
    """Shares found of each kind of copy, the lower of both ways; the farthest and least alike of those found."""
    rng = np.random.default_rng(1)
    save(root / "originals", originals)
    first = hashed(root / "originals")
    comparable = set(first.comparable.tolist())
    found: dict[str, dict[str, Any]] = {}
    for name, copy in COPIES.items():
        folder = root / name.replace(" ", "_").replace("%", "")
        save(folder, [copy(image, rng) for image in originals])
        second = hashed(folder)
        able = sorted(comparable & set(second.comparable.tolist()))
        ways = [pairs.near_duplicates(one, other).pairs for one, other in ((first, second), (second, first))]
        right = [[pair for pair in way if pair.index == pair.other_index and pair.index in able] for way in ways]
        found[name] = {
            "copies": len(able), "too_plain": len(originals) - len(able), "found": min(len(way) for way in right),
            "farthest": max(pair.distance for way in right for pair in way),
            "least": min(pair.correlation for way in right for pair in way),
            "wrong": sum(pair.index != pair.other_index for way in ways for pair in way),
        }  # fmt: skip
        print(name, found[name], flush=True)
    return found


def chance(images: list[Pixels] | Iterator[Pixels], folder: Path) -> dict[str, Any]:
    """What is found among different images."""
    save(folder, images)
    one = hashed(folder)
    found = pairs.near_duplicates(one, None)
    return {"images": len(one.kept), "too_plain": int(one.plain.sum()), "pairs": found.compared,
            "within_radius": found.looked_at, "found": len(found.pairs),
            "identical": sum(pair.kind == "identical" for pair in found.pairs)}  # fmt: skip


def written(study: dict[str, Any]) -> str:
    """The Markdown page."""
    facts = study["provenance"]
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    lines = [
        "# Near-duplicates: copies found, and finds by chance", "",
        f"`{facts['command']}` at {facts['commit']}; {facts['machine']}; {versions}.",
        f"Radius {study['radius']} of 64 bits, correlation of edges at least {study['least']}.", "",
        "Made images only: see the head of the script. Copies are looked for both ways, and the lower share is given; "
        "`too plain` images have too few features for a hash and are compared byte by byte only, here not counted.", "",
        "| copy | " + " | ".join(study["recall"]) + " | farthest, bits | least correlation |",
        "|---|" + "---|" * (len(study["recall"]) + 2),
    ]  # fmt: skip
    for name in COPIES:
        of = [kind[name] for kind in study["recall"].values()]
        shares = " | ".join(f"{one['found']} of {one['copies']}" for one in of)
        lines.append(f"| {name} | {shares} | {max(one['farthest'] for one in of)} | "
                     f"{min(one['least'] for one in of):.2f} |")  # fmt: skip
    lines += ["", "Found by chance: images that have an earlier look-alike, equal bytes apart. The limit is one-sided, "
              "as if pairs were independent: 3 over their number where none is found. Digits of 8 x 8 pixels do look "
              "alike; this is not for images so small.", "",
              "| different images | images | too plain | pairs | within the radius | found | a pair | at most (95 %) |",
              "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for name, one in study["chance"].items():
        found = one["found"] - one["identical"]
        limit = chi2.ppf(0.95, 2 * (found + 1)) / 2 / one["pairs"]
        lines.append(f"| {name} | {one['images']:,} | {one['too_plain']:,} | {one['pairs']:.2g} | "
                     f"{one['within_radius']:,} | {found:,} | {found / one['pairs']:.1g} | {limit:.1g} |")  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=12_000)
    parser.add_argument("--copies", type=int, default=200)
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        found = {
            "made, 128 x 128": recall([dead_leaves(rng, 128) for _ in range(given.copies)], root / "a"),
            "made, 32 x 32": recall([dead_leaves(rng, 32) for _ in range(given.copies)], root / "b"),
            "photographs, 106 x 106": recall(photographs(106), root / "c"),
        }
        by_chance = {
            "made, 64 x 64": chance((dead_leaves(rng, 64, 150) for _ in range(given.images)), root / "d"),
            "tiles of two photographs, 53 x 53": chance(photographs(53), root / "e"),
            "built-in images, 64 x 64": chance(generated(min(given.images, 4096)), root / "f"),
            "handwritten digits, 8 x 8": chance(digits(), root / "g"),
        }
    facts = {key: value for key, value in provenance().items() if key != "noise"}
    facts["command"] = f"python analysis/near_duplicates.py --images {given.images} --copies {given.copies}"
    study = {"provenance": facts, "radius": RADIUS, "least": LEAST, "recall": found, "chance": by_chance}
    (given.out / "near_duplicates.json").write_text(json.dumps(study, indent=1) + "\n", encoding="utf-8")
    text = written(study)
    (given.out / "near_duplicates.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

"""A results folder of very many runs, each with a row and a trace, made as fast as the disk makes folders."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from scalelaw import compute
from scalelaw.runs import Run, stamps
from scalelaw.runs.schema import arrow_schema
from scalelaw.runs.traces import schema

MACS = {"N0": 2.7e5, "N1": 5.1e5, "N2": 1.1e6, "N4": 3.3e6, "N6": 9e6}
LENGTHS, RATES = 8, 3
CELLS = len(MACS) * LENGTHS


def made(root: Path, runs: int, done: int, trace_rows: int) -> list[str]:
    """Makes a sweep's folder in which the first `done` runs are finished and compacted, cell by cell.

    The files of rows hold another run's row: whoever opens one that the compacted table has finds out.

    Returns:
        All ids, sorted.

    """
    root.mkdir(parents=True)
    rows, configs = [], {}
    for k in range(runs):
        cell, place = k * CELLS // runs, k % -(-runs // CELLS)
        variant, length = list(MACS)[cell % len(MACS)], 1000 * 2 ** (cell // len(MACS))
        rate, seed = place % RATES, place // RATES
        train = {"images": length, "peak_lr": 0.4 * 2**rate, "seed": seed}
        config = {"data": {"source": "hierarchy", "train_images": 32768}, "model": {"variant": variant}, "train": train}
        run_id = f"{(k + 1) * 0x9E3779B97F4A7C15 % 2**64:016x}"
        configs[run_id] = config
        rows.append(_row(run_id, variant, length, train, json.dumps(config, sort_keys=True)))
    costs = {row.run_id: row.core_hours for row in rows}
    record = {"name": "many", "utilisation": compute.DEFAULT_UTILISATION, "runs": list(costs), "core_hours": costs}
    (root / "sweep.json").write_text(json.dumps(record))
    other = _bytes(pa.Table.from_pylist([asdict(_row("another", "N0", 1, {}, "{}"))], schema=arrow_schema()))
    steps = range(trace_rows)
    trace = _bytes(pa.table({"step": steps, "train_loss": [2 + 0.9**k for k in steps]}).cast(_subset("train_loss")))
    found = {}
    for k, (run_id, config) in enumerate(configs.items()):
        folder = f"{root}/{run_id}"
        os.makedirs(f"{folder}/trace")
        _write(f"{folder}/config.json", json.dumps(config).encode())
        if k < done:
            _write(f"{folder}/row.parquet", other)
            _write(f"{folder}/lease", b"")
            _write(f"{folder}/trace/part-00000.parquet", trace)
            found[run_id] = stamps.stamp(f"{folder}/row.parquet")
    kept = sorted(rows[:done], key=lambda row: str(row.run_id))
    table = pa.Table.from_pylist([asdict(row) for row in kept], schema=arrow_schema())
    pq.write_table(stamps.joined(table, found), root / "runs.parquet", compression="zstd")
    return sorted(configs)


def _row(run_id: str, variant: str, images: int, train: dict[str, float], config: str) -> Run:
    macs = MACS[variant]
    flop = compute.train_flop(macs, images)
    hours = compute.core_hours(flop)
    return Run(
        run_id=run_id, sweep="many", family="nfnet", variant=variant, dataset="hierarchy", status="finished",
        params=round(macs), params_body=round(macs), macs_per_image=macs, resolution=8, unique_images=32768,
        epochs=images / 32768, images_seen=images, batch_size=64, peak_lr=train.get("peak_lr"), hardware="cpu",
        devices=1, train_seconds=images / 2e4, train_flop=flop, core_hours=hours, core_hours_basis="estimated",
        utilisation=compute.DEFAULT_UTILISATION, val_loss=2 * hours**-0.05 * (1 + 0.1 * (train.get("peak_lr") != 0.4)),
        top1_error=0.5, attempts=1, config=config, commit="0123456789ab",
    )  # fmt: skip


def _subset(*names: str) -> pa.Schema:
    return pa.schema([schema().field(name) for name in ("step", *names)])


def _bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())


def _write(path: str, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)

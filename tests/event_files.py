"""TensorBoard event files and W&B logs, written from their public formats, for tests of what reads them."""

import json
import struct
import zlib

BLOCK = 32768


# CRC-32C, bit by bit from its definition: slow and plain


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def tfrecord(data):
    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


# Protocol buffers


def varint(value):
    value &= (1 << 64) - 1
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number, value):
    """A field: int as varint, float as double, bytes and str as they are."""
    if isinstance(value, float):
        return varint(number << 3 | 1) + struct.pack("<d", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def single(number, value):
    return varint(number << 3 | 5) + struct.pack("<f", value)


# TensorBoard


def event(wall, step, *values):
    body = field(1, float(wall)) + (field(2, step) if step else b"")
    return body + (field(5, b"".join(field(1, value) for value in values)) if values else b"")


def simple(tag, value):
    return field(1, tag) + single(2, value)


def tensor(tag, dtype, body, shape=()):
    dims = b"".join(field(2, field(1, size)) for size in shape)
    metadata = field(1, field(1, "scalars"))
    return field(1, tag) + field(8, field(1, dtype) + field(2, dims) + body) + field(9, metadata)


def hparams(settings, status=None):
    """The values that carry hyperparameters, and how the session ended."""
    entries = b""
    for name, value in settings.items():
        kind = 4 if isinstance(value, bool) else 3 if isinstance(value, str) else 2
        held = field(kind, int(value) if kind == 4 else value if kind == 3 else float(value))
        entries += field(1, field(1, name) + field(2, held))
    values = [_plugin("_hparams_/session_start_info", field(3, entries))]
    if status is not None:
        values.append(_plugin("_hparams_/session_end_info", field(4, field(1, status))))
    return values


def _plugin(tag, content):
    return field(1, tag) + field(9, field(1, field(1, "hparams") + field(2, content)))


def events(path, *records):
    """Writes an event file; the first record names the version, as TensorBoard's writers do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    first = field(1, 1.0) + field(3, "brain.Event:2")
    path.write_bytes(b"".join(tfrecord(record) for record in (first, *records)))
    return path


def curve(path, losses, every=100, **settings):
    """A run of validation losses, its hyperparameters first."""
    start = [event(1.0, 0, *hparams(settings, status=1))] if settings else []
    return events(path, *start, *(event(2.0 + i, (i + 1) * every, simple("val/loss", x)) for i, x in enumerate(losses)))


# W&B's offline logs


def wandb_log(path, *records):
    """Writes an offline log: LevelDB's framing with zlib's CRC-32 and W&B's header."""
    data = b":W&B" + struct.pack("<HB", 0xBEE1, 0)
    for record in records:
        first, left = True, record
        while True:
            room = BLOCK - len(data) % BLOCK
            if room < 7:
                data += bytes(room)
                room = BLOCK
            part, left = left[: room - 7], left[room - 7 :]
            kind = (1 if first else 4) if not left else (2 if first else 3)
            data += struct.pack("<IHB", zlib.crc32(part, zlib.crc32(bytes([kind]))), len(part), kind) + part
            first = False
            if not left:
                break
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def item(key, value, nested=False):
    return field(1, (field(2, key) if nested else field(1, key)) + field(16, json.dumps(value)))


def items(values, nested=False):
    return b"".join(item(key, value, nested) for key, value in values.items())


def wandb_run(run_id, config=None, start=1_700_000_000):
    body = field(1, run_id) + field(4, items(config or {})) + field(8, f"name of {run_id}")
    return field(17, body + field(17, field(1, start)))


def wandb_history(values, step, nested=False):
    return field(2, items(values, nested) + field(2, field(1, step)))


def wandb_summary(values):
    return field(3, items(values))


def wandb_exit(code):
    return field(18, field(1, code) if code else b"")

"""What is wrong with a section, one sentence a mistake: place, key, what, mend."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError

from scalelaw.errors import nearest

PER_LEVEL = {
    "rules": "a whole number above 0",
    "branching": '"2" or "2x2"',
    "zipf_a": 'a number of at least 0 or "uniform"',
}
LISTS = {
    "crop_area": "two numbers above 0, as [0.08, 1.0]",
    "crop_aspect": "two numbers above 0, as [0.75, 1.33]",
    "pixel_mean": "three numbers, as [0.485, 0.456, 0.406]",
    "pixel_std": "three numbers above 0, as [0.229, 0.224, 0.225]",
}
AROUND = "peak_lr = { around = 1.6, factor = 2, points = 3 }"
SENTENCE = "around 1.6 by factors of 2, 3 points"
_KINDS = {
    "too_short": "is an empty list, so the grid is empty; give at least one value",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "int_type": "must be a whole number",
    "int_parsing_size": "must be a whole number below 2^53",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be text in quotes",
    "bool_type": "must be true or false",
    "literal_error": "must be {expected}",
    "string_pattern_mismatch": "must begin with a letter or digit and hold only letters, digits, '.', '_' and '-'",
}


def sentences(kind: type[BaseModel], value: Any, error: ValidationError, place: str) -> list[str]:
    """One line for each of pydantic's errors with the section `value`, each once."""
    return [text for _, text in located(kind, value, error, place)]


def located(
    kind: type[BaseModel], value: Any, error: ValidationError, place: str
) -> list[tuple[tuple[str | int, ...], str]]:
    """As `sentences`, each with the keys and places in lists that lead to it."""
    found: dict[str, tuple[str | int, ...]] = {}
    for item in error.errors(include_url=False):
        found.setdefault(_sentence(kind, value, item, place), item["loc"])
    return [(loc, text) for text, loc in found.items()]


def _sentence(kind: type[BaseModel], value: Any, item: Any, place: str) -> str:
    key, *rest = [str(part) for part in item["loc"]] or ["section"]
    given = value.get(key) if isinstance(value, dict) else None
    if key in PER_LEVEL:
        return f"{place} {key}: must be {PER_LEVEL[key]}, or a list of one per level{_not(given)}"
    if key in LISTS:
        return f"{place} {key}: must be {LISTS[key]}{_not(given)}"
    if given == []:
        return f"{place} {key}: {_KINDS['too_short']}"
    sentence = isinstance(given, str) and bool(rest) and not rest[0].isdigit()
    inside = key == "peak_lr" and key in kind.model_fields and (isinstance(given, dict) or sentence)
    if item["type"] == "extra_forbidden":
        if key in ("around", "factor", "points") and not inside and "peak_lr" in kind.model_fields:
            return f"{place} {key}: unknown key; it belongs inside {AROUND}"
        known = ["around", "factor", "points"] if inside else list(kind.model_fields)
        unknown = rest[-1] if inside else key
        return (
            f"{place} {'peak_lr.' * inside}{unknown}: unknown key{nearest(unknown, known)} (known: {', '.join(known)})"
        )
    if inside and rest:
        key = f"peak_lr.{rest[0]}"
    where = f"{place} {key}"
    if isinstance(given, list) and rest and rest[0].isdigit():
        where += nth(int(rest[0]), len(given))
    if item["type"] == "missing":
        return f"{where}: is missing" + (f"; write {AROUND}" if inside else "")
    if item["type"] == "too_short":
        return f"{where}: {_KINDS['too_short']}"
    if item["type"] == "float_type" and isinstance(item["input"], int) and not isinstance(item["input"], bool):
        item["type"] = "finite_number"  # a whole number beyond the floats
    if key == "peak_lr" and isinstance(item["input"], str) and item["input"].strip().startswith("around"):
        return f'{where}: must read "{SENTENCE}"{_not(item["input"])}'
    context = {name: _number(limit) for name, limit in item.get("ctx", {}).items()}
    text = _KINDS[item["type"]].format(**context) if item["type"] in _KINDS else item["msg"]
    guess = ""
    if item["type"] == "literal_error" and isinstance(item["input"], str):
        guess = nearest(
            item["input"], [word.strip("'") for word in context["expected"].replace(" or ", ", ").split(", ")]
        )
    return f"{where}: {text}{_not(item['input'])}{guess}"


def nth(index: int, count: int) -> str:
    """Which value of a list, from 0, where there are several."""
    return f", value {index + 1} of {count}" if count > 1 else ""


def _number(limit: Any) -> str:
    return str(int(limit)) if isinstance(limit, float) and limit.is_integer() else str(limit)


def _not(value: Any) -> str:
    """`, not <value>`, cut where long."""
    text = _toml(value)
    return f", not {text if len(text) <= 60 else text[:57] + '...'}"


def _toml(value: Any) -> str:
    """A value as it stands in the file."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, int) and abs(value) >= 10**20:
        return "a number of more than 20 digits"
    return repr(value)

"""JSON out of files, which may be damaged or made to do harm."""

import json
from typing import Any

MOST_NESTED = 50  # objects and lists within each other in what is kept and written again; ours have some ten


def parse_json(text: str | bytes, *, most_nested: int | None = None) -> Any:
    """What a text of JSON says; ValueError if it is none, or nested too deeply for Python's parser.

    Give `most_nested` if it will be copied or written again: Python may have less depth left for that than for reading.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if most_nested is not None and _deeper(value, most_nested):
        raise ValueError("it is nested too deeply")
    return value


def _deeper(value: Any, levels: int) -> bool:
    """Whether a value holds more than so many objects and lists within each other."""
    if not isinstance(value, dict | list):
        return False
    inside = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_deeper(one, levels - 1) for one in inside)

"""Logs of JSON lines, as trainings write them: added to line by line, read and cut when a run goes on."""

import json
from pathlib import Path
from typing import Any

from pipeline.atomic import cannot_write, write_whole
from pipeline.json_text import parse_json


def add_line(path: Path, row: dict[str, Any]) -> None:
    """Add a line of JSON to a log; OutputError if it cannot be written."""
    try:
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")
    except OSError as error:
        raise cannot_write(path, error) from error


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a log, none if there is no such file; one that a kill cut short or damaged is left out."""
    rows = []
    for line in path.read_text("utf-8", errors="replace").splitlines() if path.exists() else []:
        try:
            row = parse_json(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
    return rows


def cut_lines(path: Path, step: int) -> None:
    """Drop what a log says beyond this step, where the run now goes on; at step 0 all of it."""
    kept = [row for row in read_lines(path) if row["step"] <= step] if step else []
    write_whole(path, "".join(json.dumps(row) + "\n" for row in kept).encode())

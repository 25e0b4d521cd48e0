"""The weights that ship with the program: found by name through the manifest `assets/models.json`, and verified.

Each entry of the manifest: name, kind ('hourglass', 'finder' or 'lifter'), file, bytes, sha256 of the file, licence,
recipe (the command that trained it) and metrics.
"""

import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Any

from pipeline.errors import CheckpointError, InputError
from pipeline.json_text import parse_json

DEFAULT_HOURGLASS, DEFAULT_FINDER, DEFAULT_LIFTER = "hourglass-m", "finder", "baseline"


def assets_folder() -> Path:
    """Where the shipped files are, in a checkout and in an installation alike."""
    return Path(str(files("assets")))


def manifest(folder: Path | None = None) -> list[dict[str, Any]]:
    """The entries of models.json."""
    path = (folder or assets_folder()) / "models.json"
    try:
        models: list[dict[str, Any]] = parse_json(path.read_text())["models"]
        for entry in models:
            _ = entry["kind"], entry["name"], entry["file"], entry["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = "the manifest of the shipped weights is unreadable"
        raise CheckpointError(f"{path}: {reason}; install posecli again") from error
    return models


def names(kind: str) -> list[str]:
    """Names of the shipped models of a kind, the default first."""
    return [entry["name"] for entry in manifest() if entry["kind"] == kind]


def find_weights(kind: str, wanted: str) -> Path:
    """The file of a shipped model by name, or a weights file by path.

    Raises InputError that lists the names if `wanted` is neither, CheckpointError if a shipped file is damaged.
    """
    for entry in manifest():
        if entry["kind"] == kind and entry["name"] == wanted:
            return _verified(assets_folder() / entry["file"], entry)
    path = Path(wanted)
    if path.is_file():
        return path
    raise InputError(f"no {kind} {wanted!r}: give one of {', '.join(names(kind))}, or the path of a weights file")


def _verified(path: Path, entry: dict[str, Any]) -> Path:
    if not path.is_file():
        raise CheckpointError(f"{path}: missing; install posecli again")
    expected, actual = entry["sha256"], file_sha256(path)
    if actual != expected:
        raise CheckpointError(f"{path}: damaged: expected sha256 {expected}, got {actual}; install posecli again")
    return path


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()

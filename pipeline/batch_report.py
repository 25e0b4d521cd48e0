"""The report that a run over many clips keeps in its folder, by which the next run knows what is done.

report.json is one object: format "posecli report", version 1, and `clips`, a list with an object for every clip that
was ever tried with this folder, with the keys of `Entry`.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.atomic import write_whole
from pipeline.errors import DataError
from pipeline.json_text import MOST_NESTED, parse_json
from pipeline.limits import check_files

NAME = "report.json"
FORMAT, VERSION = "posecli report", 1
DONE, FAILED, SKIPPED = "done", "failed", "skipped"


@dataclass(frozen=True)
class Recipe:
    """What a clip's outputs depend on; where one of these differs, they are made again.

    source         absolute path of the clip
    source_bytes   its size and when it was changed, ns since 1970, both before it was read; None: it was not there
    options        smooth, fov, height_cm, people, salvage as the command line has them; export, the endings
    weights        of detector, finder and lifter: file and sha256
    """

    source: str
    source_bytes: int | None
    source_modified_ns: int | None
    options: dict[str, Any]
    weights: dict[str, dict[str, str]]

    @classmethod
    def of(cls, source: Path, *, options: dict[str, Any], weights: dict[str, dict[str, str]]) -> "Recipe":
        """For the clip as it is now."""
        try:
            status = source.stat()
        except OSError:
            return cls(str(source.absolute()), None, None, options, weights)
        return cls(str(source.absolute()), status.st_size, status.st_mtime_ns, options, weights)


@dataclass(frozen=True)
class Entry:
    """What became of one clip.

    status       done; failed; skipped: an earlier run did it, and the figures are of that one
    error        what was wrong, one line; None unless failed
    retried      why it was tried twice, one line (only on a Ray cluster); None if it was not
    frames       of the clip, with_person those in which someone was found; None if failed, as is
    seconds      how long it took
    outputs      names of the files in the report's folder, the video first; none if failed
    versions     of posecli, Python and the packages that compute, when it was made
    """

    recipe: Recipe
    status: str
    versions: dict[str, str]
    error: str | None = None
    retried: str | None = None
    frames: int | None = None
    with_person: int | None = None
    seconds: float | None = None
    outputs: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """One flat object."""
        fields = asdict(self)
        return {"source": self.recipe.source, "status": self.status, **fields.pop("recipe"), **fields}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Entry":
        """What `to_json` gave; KeyError, TypeError or ValueError if it is something else."""
        fields = dict(fields)
        recipe = Recipe(**{name: fields.pop(name) for name in Recipe.__dataclass_fields__})
        outputs = tuple(fields.pop("outputs"))
        if not all(isinstance(text, str) for text in (recipe.source, fields["status"], *outputs)):
            raise ValueError("a name that is no text")
        return cls(recipe, outputs=outputs, **fields)


class Report:
    """The entries of a folder by source, and the file that they are kept in."""

    def __init__(self, folder: Path, entries: Iterable[Entry] = ()) -> None:
        self.folder = folder
        self._entries = {entry.recipe.source: entry for entry in entries}

    @classmethod
    def read(cls, folder: Path) -> "Report":
        """The report of a folder, empty if it has none yet; DataError if its report.json is something else, or larger
        than `pipeline.limits` allows.
        """
        path = folder / NAME
        check_files([path], named=path)
        try:
            content = parse_json(path.read_bytes(), most_nested=MOST_NESTED)
            if (content["format"], content["version"]) != (FORMAT, VERSION):
                raise ValueError("another format")
            return cls(folder, [Entry.from_json(fields) for fields in content["clips"]])
        except FileNotFoundError:
            return cls(folder)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: not a report of this posecli; move it away or choose another folder") from error

    @property
    def path(self) -> Path:
        """Of the file."""
        return self.folder / NAME

    def finished(self, recipe: Recipe) -> Entry | None:
        """The entry of a clip that was made by this very recipe and whose files are all there, as one to skip."""
        entry = self._entries.get(recipe.source)
        if entry is None or entry.recipe != recipe or entry.status not in (DONE, SKIPPED):
            return None
        there = all((self.folder / name).is_file() for name in entry.outputs)
        return replace(entry, status=SKIPPED) if there else None

    def put(self, *entries: Entry) -> None:
        """Note what became of clips, in the file too; OutputError if it cannot be written."""
        self._entries.update({entry.recipe.source: entry for entry in entries})
        self._write()

    def forget(self, recipe: Recipe) -> None:
        """Take out what is noted of a clip, before its files are replaced; OutputError likewise."""
        if self._entries.pop(recipe.source, None) is not None:
            self._write()

    def _write(self) -> None:
        clips = [entry.to_json() for entry in self._entries.values()]
        text = json.dumps({"format": FORMAT, "version": VERSION, "clips": clips}, indent=2)
        write_whole(self.path, (text + "\n").encode())

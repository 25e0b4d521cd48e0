"""Many clips, one after the other, into one folder: goes on after a bad one, and when run again with what is not done.

FOLDER/NAME.mp4, NAME.ENDING   of each clip, moved there together once all are whole
FOLDER/report.json             what became of every clip: `pipeline.batch_report`
FOLDER/.posecli.lock           while a run writes to the folder: `pipeline.lock`
FOLDER/.posecli-work/          what is not whole yet; gone when the run ends
"""

import logging
import re
import shutil
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from pipeline.atomic import cannot_write
from pipeline.batch_report import DONE, FAILED, SKIPPED, Entry, Recipe, Report
from pipeline.device import open_device, share_processor
from pipeline.errors import InputError, OutputError, PoseError
from pipeline.export import WRITERS
from pipeline.lock import locked
from pipeline.machine import versions
from pipeline.run import (
    Models,
    Summary,
    Wishes,
    check_wishes,
    process_video,
    weights_files,
    weights_note,
)
from pipeline.weights import DEFAULT_FINDER

logger = logging.getLogger(__name__)

ENDING = ".mp4"
WORK = ".posecli-work"


@dataclass(frozen=True)
class Batch:
    """What is the same for all clips: the folder to write to, the networks and where they run, options, and the endings
    of the files to hand over, such as '.bvh'.
    """

    folder: Path
    hourglass: str
    lifter: str
    device: str = "auto"
    runtime: str = "auto"
    wishes: Wishes = field(default_factory=Wishes)
    exports: tuple[str, ...] = ()
    finder: str = DEFAULT_FINDER

    def load_models(self) -> Models:
        """The networks; raises what `Models.load` and `open_device` raise."""
        device = open_device(self.device)
        names = {"hourglass": self.hourglass, "finder": self.finder, "lifter": self.lifter}
        return Models.load(**names, device=device, runtime=self.runtime)


@dataclass(frozen=True)
class Made:
    """What became of a clip: its summary, with files that are still in a work folder, or what was wrong, one line.

    `retried` tells why it was tried twice, if it was.
    """

    source: Path
    summary: Summary | None = None
    error: str | None = None
    retried: str | None = None


Worker = Callable[[Batch, Sequence[Path]], Generator[Made, None, None]]  # makes clips, in any order


@dataclass(frozen=True)
class Tally:
    """How many clips a run has done, and where the report is."""

    done: int
    failed: int
    skipped: int
    report: Path

    def __str__(self) -> str:
        count = self.done + self.failed + self.skipped
        what = f"{self.done} done, {self.failed} failed, {self.skipped} skipped"
        return f"{count} clip{'' if count == 1 else 's'}: {what} -> {self.report}"


# One clip


def here(batch: Batch, sources: Sequence[Path]) -> Generator[Made, None, None]:
    """A `Worker`: in this process, in order."""
    if not sources:
        return
    share_processor()
    models = batch.load_models()
    for source in sources:
        yield make(batch, source, models)


def make(batch: Batch, source: Path, models: Models) -> Made:
    """Make a clip's outputs in a work folder of their own, which is gone unless all of them are whole.

    Whatever is wrong with the clip is in the result. Raises OutputError if there can be no work folder.
    """
    try:
        work = Path(mkdtemp(dir=batch.folder / WORK))
    except OSError as error:
        raise cannot_write(batch.folder, error) from error
    output = work / f"{source.stem}{ENDING}"
    exports = [output.with_name(f"{source.stem}{ending}") for ending in batch.exports]
    try:
        return Made(source, process_video(source, output, models, exports=exports, wishes=batch.wishes))
    except BaseException as error:
        shutil.rmtree(work, ignore_errors=True)
        if not isinstance(error, Exception):  # the program is to end
            raise
        return Made(source, error=_line(source, error).replace(str(work), str(batch.folder)))


def _line(source: Path, error: Exception) -> str:
    """What went wrong with a clip. An error of ours stops that clip only, but keeps its traceback."""
    if isinstance(error, PoseError):
        return str(error)
    logger.error("%s: an error in posecli itself", source, exc_info=error)
    return f"{source}: {type(error).__name__}: {' '.join(str(error).split())}"


# All clips


def process_batch(
    batch: Batch, sources: Sequence[Path], *, again: bool = False, worker: Worker = here, say: Callable[[str], None]
) -> Tally:
    """Make all clips, but for those that are finished, unless they are to be made `again`; a line for each to `say`.

    Raises OutputError if the folder cannot be written or another run is writing to it, DataError if its report is
    something else, and before any clip is begun InputError for options or clips that do not go together, and what
    `Batch.load_models` raises.
    """
    sources = _without_repeats(sources)
    check_batch(batch, sources)
    weights = {stage: weights_note(file) for stage, file in _weights_of(batch).items()}
    options = {**asdict(batch.wishes), "export": list(batch.exports)}
    recipes = {source: Recipe.of(source, options=options, weights=weights) for source in sources}
    with _folder(batch.folder):
        report = Report.read(batch.folder)
        finished = {} if again else {s: entry for s, recipe in recipes.items() if (entry := report.finished(recipe))}
        report.put(*finished.values())
        tell = _Teller(len(sources), say)
        for source, entry in finished.items():
            tell(source, entry, "finished before")
        todo = [source for source in sources if source not in finished]
        try:
            with closing(worker(batch, todo)) as results:
                for made in results:
                    entry = _settle(batch, made, recipes[made.source], report)
                    tell(made.source, entry, entry.error or str(_in_folder(batch, made)))
        except (KeyboardInterrupt, SystemExit):
            logger.warning("stopped after %d of %d clips; the same command goes on from there", *tell.progress)
            raise
        return tell.tally(report.path)


class _Teller:
    """Says what became of each clip, and counts."""

    def __init__(self, clips: int, say: Callable[[str], None]) -> None:
        self._clips, self._say = clips, say
        self._counts: Counter[str] = Counter()

    @property
    def progress(self) -> tuple[int, int]:
        """How many clips have been told of, and how many there are."""
        return self._counts.total(), self._clips

    def __call__(self, source: Path, entry: Entry, text: str) -> None:
        self._counts[entry.status] += 1
        about = text if entry.status == FAILED else f"{source}: {text}"
        line = f"[{self._counts.total()}/{self._clips}] {entry.status}: {about}"
        self._say(line.encode("utf-8", "replace").decode())  # names may be in another encoding

    def tally(self, report: Path) -> Tally:
        """All that was told."""
        return Tally(self._counts[DONE], self._counts[FAILED], self._counts[SKIPPED], report)


def _settle(batch: Batch, made: Made, recipe: Recipe, report: Report) -> Entry:
    """Move a clip's files to where they belong, note what became of it, and return that."""
    if made.summary is None:
        entry = Entry(recipe, FAILED, versions(), error=made.error, retried=made.retried)
    else:
        report.forget(recipe)  # so that it never tells of files which are half the old ones and half the new ones
        written = _in_folder(batch, made).written
        try:
            for path, final in zip(made.summary.written, written, strict=True):
                path.replace(final)
        except OSError as error:
            raise cannot_write(batch.folder, error) from error
        shutil.rmtree(made.summary.written[0].parent, ignore_errors=True)
        entry = Entry(
            recipe,
            DONE,
            versions(),
            retried=made.retried,
            frames=made.summary.frames,
            with_person=made.summary.with_person,
            seconds=round(made.summary.seconds, 3),
            outputs=tuple(path.name for path in written),
        )
    report.put(entry)
    return entry


def _in_folder(batch: Batch, made: Made) -> Summary:
    """The summary of a clip that was made, with its files where they belong."""
    if made.summary is None:
        raise ValueError(f"{made.source} failed")
    return replace(made.summary, written=tuple(batch.folder / path.name for path in made.summary.written))


def _weights_of(batch: Batch) -> dict[str, Path]:
    return weights_files(hourglass=batch.hourglass, finder=batch.finder, lifter=batch.lifter)


@contextmanager
def _folder(folder: Path) -> Iterator[None]:
    """Make the folder if need be, and have it to ourselves, with an empty work folder in it, while the block runs."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: the folder cannot be made ({error.strerror}); choose another one") from error
    with locked(folder):
        work = folder / WORK
        shutil.rmtree(work, ignore_errors=True)  # of a run that was ended by force
        try:
            work.mkdir()
        except OSError as error:
            raise cannot_write(folder, error) from error
        try:
            yield
        finally:
            shutil.rmtree(work, ignore_errors=True)


# What is checked before any clip is begun


def pose_ending(word: str) -> str:
    """The file ending that a word such as 'bvh' or '.bvh' means; InputError if there is none."""
    ending = f".{word.removeprefix('.').lower()}"
    if ending not in WRITERS:
        raise InputError(f"--export {word}: with --out-dir give an ending, one of {', '.join(WRITERS)}")
    return ending


def check_batch(batch: Batch, sources: Sequence[Path]) -> None:
    """Raise InputError for an option out of range or clips whose outputs would overwrite each other or a clip."""
    check_wishes(batch.wishes, (1, 1))  # whatever size the clips have
    takers: dict[str, Path] = {}
    for source in sources:
        other = takers.setdefault(source.stem.casefold(), source)  # to some file systems 'A' and 'a' are the same
        if other is not source:
            raise InputError(
                f"{other} and {source} would both become {source.stem}{ENDING}; rename one, or use two folders"
            )
    for source in sources:
        first = re.fullmatch(r"(.+)_([2-9]|[1-9]\d+)", source.stem.casefold())
        if batch.exports and first and first[1] in takers:
            raise InputError(
                f"{source}: its files would have the names of a further person's in {takers[first[1]]}; rename one, or "
                "use two folders"
            )
    there = {_identity(source): source for source in sources}
    for source in sources:
        for ending in (ENDING, *batch.exports):
            output = batch.folder / f"{source.stem}{ending}"
            if output.exists() and _identity(output) in there:
                raise InputError(
                    f"{output}: is a video that is read, and would be overwritten; choose another --out-dir"
                )


def _identity(path: Path) -> Any:
    """What two paths to the same file have in common."""
    try:
        status = path.stat()
    except OSError:
        return path.absolute()
    return status.st_dev, status.st_ino


def _without_repeats(sources: Sequence[Path]) -> list[Path]:
    """The clips in order, each once, however often it was given."""
    return list({source.absolute(): source for source in sources}.values())

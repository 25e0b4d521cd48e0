"""Readers under watch: every input is read in a process that may crash, hang, or take all memory, and is told apart.

An input ends in one of these: accepted; refused (a PoseError); or a finding:

    error   another exception, which a user would see as a traceback
    crash   the process died, as of a segmentation fault
    hang    it took longer than `Limits` allow, of the processor, or stood still for PATIENCE times as long
    memory  it took more than they allow on top of what the process had
    escape  it started a program, opened a connection, or wrote elsewhere than in its folder
"""

import faulthandler
import importlib
import multiprocessing
import os
import resource
import shutil
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from pipeline.errors import PoseError
from tests.fuzz.kinds import KINDS, MISBEHAVING

PATIENCE = 6
ADDRESSES = 4 << 30  # bytes that a reader may reserve on top, so that a claim of terabytes does not pass unnoticed

FINDINGS = ("error", "crash", "hang", "memory", "escape")
# What no reader of files does, by the names of Python's audit events.
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.Popen", "pty.spawn")
FORBIDDEN += ("socket.connect", "socket.bind", "socket.getaddrinfo", "urllib.Request", "ftplib.connect")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass(frozen=True)
class Input:
    """A broken file: its kind, the sound file of that kind whose place it takes, and what is in it."""

    kind: str
    name: str
    data: bytes
    number: int = 0


@dataclass(frozen=True)
class Outcome:
    """What became of an input: 'accepted', 'refused' or one of FINDINGS, and what was said; processor seconds, MB."""

    verdict: str
    said: str
    seconds: float
    memory_mb: float


@dataclass(frozen=True)
class Limits:
    """What an input may take."""

    seconds: float = 10.0
    memory_mb: float = 1000.0


def read_all(
    inputs: Iterable[Input], sound: Path, *, workers: int = 2, limits: Limits = Limits()
) -> Iterator[tuple[Input, Outcome]]:
    """Read inputs, in folders that are copies of sound/KIND, and give what becomes of them as it does."""
    waiting, pool = iter(inputs), [_Worker(sound, number, limits) for number in range(workers)]
    try:
        for worker in pool:
            worker.give(next(waiting, None))
        while busy := [worker for worker in pool if worker.busy]:
            patience = min(worker.left_s for worker in busy)
            ready = wait([worker.line for worker in busy], timeout=max(patience, 0))
            for worker in busy:
                if worker.line in ready or worker.left_s <= 0:
                    yield worker.take()
                    worker.give(next(waiting, None))
    finally:
        for worker in pool:
            worker.stop()


class _Worker:
    """A process that reads one input at a time, and is started anew when it does not survive one."""

    def __init__(self, sound: Path, number: int, limits: Limits) -> None:
        self.sound, self.folder, self.limits = sound, sound / f"worker{number}", limits
        self.line: Connection
        self.process: SpawnProcess | None = None
        self.busy: Input | None = None

    @property
    def left_s(self) -> float:
        return self.until - time.monotonic()

    def give(self, one: Input | None) -> None:
        self.busy = one
        if one is None:
            return
        if self.process is None:
            self._start()
        self.line.send(one)
        self.began = time.monotonic()
        self.until = self.began + PATIENCE * self.limits.seconds

    def take(self) -> tuple[Input, Outcome]:
        assert self.busy is not None
        assert self.process is not None
        try:
            outcome = self.line.recv() if self.line.poll() else None
            if outcome is None:
                outcome = Outcome("hang", self._stack(), time.monotonic() - self.began, 0)
        except EOFError:
            self.process.join()
            said = f"exit code {self.process.exitcode}\n{self._stack()}"
            outcome = Outcome("crash", said, time.monotonic() - self.began, 0)
        if outcome.verdict in ("crash", "hang"):
            self.stop()
        return self.busy, outcome

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.line.close()
            self.process = None

    def _start(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        context = multiprocessing.get_context("spawn")
        self.line, end = context.Pipe()
        self.process = context.Process(target=_serve, args=(end, self.sound, self.folder, self.limits), daemon=True)
        self.process.start()
        end.close()
        self.line.recv()  # it has imported what it needs

    def _stack(self) -> str:
        """Where it was: what a fatal error left, or, asked for now, the stack of a process that hangs."""
        return (self.folder / "stderr").read_text("utf-8", "replace").partition("Extension modules")[0][-3000:]


# In the process


def _serve(line: Connection, sound: Path, folder: Path, limits: Limits) -> None:
    log = (folder / "stderr").open("a")  # so that it may be emptied
    os.dup2(log.fileno(), 2)
    faulthandler.enable(log)
    _import_all()
    watch = _Watch(folder)
    sys.addaudithook(watch.see)
    reserved = _status_mb("VmSize") * 1e6
    resource.setrlimit(resource.RLIMIT_AS, (int(reserved) + ADDRESSES,) * 2)
    line.send(None)
    while True:
        one = line.recv()
        faulthandler.dump_traceback_later(0.8 * PATIENCE * limits.seconds, file=log)
        outcome = _judged(_outcome(one, sound, folder, watch=watch), limits)
        faulthandler.cancel_dump_traceback_later()
        os.ftruncate(log.fileno(), 0)
        line.send(outcome)


def _import_all() -> None:
    """So that no input is held to account for an import."""
    import torch

    ours = ("hourglass.data", "hourglass.importing", "hourglass.train", "lifter.prepare", "lifter.train")
    for name in (
        *ours,
        "pipeline.batch_report",
        "pipeline.calibration",
        "pipeline.capture",
        "pipeline.eval_clips",
        "pipeline.export",
        "cdflib",
    ):
        importlib.import_module(name)
    torch.set_num_threads(1)


class _Watch:
    """Sees what the interpreter does while an input is read."""

    def __init__(self, folder: Path) -> None:
        self.home = (str(folder), os.devnull)
        self.on = False
        self.seen: list[str] = []

    def see(self, event: str, details: tuple[Any, ...]) -> None:
        if not self.on:
            return
        forbidden = event in FORBIDDEN
        if event == "open":
            path, _, flags = details
            named = isinstance(path, str | bytes)
            forbidden = named and bool(flags & WRITING) and not str(path).startswith(self.home)
        if forbidden:
            self.seen.append(f"{event} {details}"[:300])


def _outcome(one: Input, sound: Path, folder: Path, *, watch: _Watch) -> Outcome:
    home = folder / one.kind
    if not home.exists():
        shutil.copytree(sound / one.kind, home)
        os.chdir(home)
        _read(one.kind, home, home / one.name)  # the sound file: what is kept for good is made now
    path = home / one.name
    os.chdir(home)
    before = set(home.iterdir())
    path.write_bytes(one.data)
    _reset_peak()
    resident = _status_mb("VmRSS")
    began = time.process_time()
    watch.seen, watch.on = [], True
    verdict, said = _read(one.kind, home, path)
    watch.on = False
    seconds, memory = time.process_time() - began, _status_mb("VmHWM") - resident
    shutil.copyfile(sound / one.kind / one.name, path)
    written = [path.name for path in set(home.iterdir()) - before if not path.name.startswith(("out.", "openpose"))]
    if written or watch.seen:
        verdict, said = "escape", " ".join([*watch.seen, *written])
    return Outcome(verdict, said, seconds, memory)


def _judged(outcome: Outcome, limits: Limits) -> Outcome:
    """The outcome, if nothing worse, as one of too much memory or time."""
    if outcome.verdict in FINDINGS:
        return outcome
    if outcome.memory_mb > limits.memory_mb:
        return replace(outcome, verdict="memory", said=f"{outcome.memory_mb:.0f} MB; {outcome.said}")
    if outcome.seconds > limits.seconds:
        return replace(outcome, verdict="hang", said=f"{outcome.seconds:.0f} s; {outcome.said}")
    return outcome


def _read(kind: str, home: Path, path: Path) -> tuple[str, str]:
    try:
        (KINDS | MISBEHAVING)[kind].read(home, path)
    except PoseError as error:
        line = str(error)
        return ("refused" if line.isprintable() and len(line) < 2000 else "error"), line
    except Exception:
        return "error", traceback.format_exc()
    return "accepted", ""


def _reset_peak() -> None:
    """Let the highest memory be that from now on (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def _status_mb(field: str) -> float:
    """A figure of /proc/self/status, MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1000

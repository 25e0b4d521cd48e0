"""Clips spread over a Ray cluster: what is given to whom, a worker's death, and the real thing on this machine."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline import ray_batch
from pipeline.batch import Batch, Made
from pipeline.errors import InputError
from pipeline.ray_batch import on_ray
from tests.pipeline.quick import plain_clip
from tests.pipeline.test_handing_over import short_clip

HAS_RAY = importlib.util.find_spec("ray") is not None


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# With a cluster that is acted


class WorkerDiedError(Exception):
    """What Ray raises."""


class ActedCluster:
    """Takes tasks like Ray and does them when they are waited for, the last one first; `deaths` tells how many attempts
    at a clip, by its name, end with the worker's death.
    """

    def __init__(self, *, gpus: int = 0, deaths: dict[str, int] | None = None) -> None:
        self.gpus, self.deaths = gpus, dict(deaths or {})
        self.needs: dict[str, Any] = {}
        self.given: list[Path] = []
        self.exceptions = SimpleNamespace(RayError=WorkerDiedError)

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0, "GPU": float(self.gpus)}

    def remote(self, **needs: Any) -> Any:
        self.needs = needs

        def submit(batch: Batch, source: Path) -> tuple[int, Batch, Path]:
            self.given.append(source)
            return len(self.given), batch, source

        return lambda _function: SimpleNamespace(remote=submit)

    def wait(self, references: list[Any], *, timeout: float) -> tuple[list[Any], list[Any]]:
        assert 0 < timeout < 10
        return references[-1:], references[:-1]

    def get(self, reference: tuple[int, Batch, Path]) -> Made:
        _, batch, source = reference
        if self.deaths.get(source.name, 0) > 0:
            self.deaths[source.name] -= 1
            raise WorkerDiedError("The worker died unexpectedly.\nCheck the logs.")
        assert batch.folder.is_absolute()
        return Made(source, error=f"{source.name} by {batch.hourglass}")


@pytest.fixture
def act(monkeypatch) -> Any:
    def make(**options: Any) -> ActedCluster:
        acted = ActedCluster(**options)

        @contextmanager
        def cluster(_address: str) -> Iterator[ActedCluster]:
            yield acted

        monkeypatch.setattr(ray_batch, "_cluster", cluster)
        monkeypatch.setattr(importlib.util, "find_spec", lambda _name: object())
        return acted

    return make


def spread(*names: str, device: str = "auto", hourglass: str = "hourglass-s") -> list[Made]:
    batch = Batch(Path("out"), hourglass, "baseline", device)
    return list(on_ray("local")(batch, [Path(name) for name in names]))


def test_every_clip_is_a_task_and_comes_back_as_it_was_given(act):
    acted = act()
    made = spread("a.mp4", "b/c.mp4")
    assert acted.given == [Path("a.mp4").absolute(), Path("b/c.mp4").absolute()]
    assert [(one.source, one.error, one.retried) for one in made] == [
        (Path("b/c.mp4"), "c.mp4 by hourglass-s", None),
        (Path("a.mp4"), "a.mp4 by hourglass-s", None),
    ]
    assert spread() == []


def test_weights_by_path_are_found_from_elsewhere(act, tmp_path, monkeypatch):
    act()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.safetensors").touch()
    (made,) = spread("a.mp4", hourglass="my.safetensors")
    assert made.error == f"a.mp4 by {tmp_path / 'my.safetensors'}"


def test_a_clip_whose_worker_dies_is_tried_once_more(act):
    acted = act(deaths={"a.mp4": 1, "b.mp4": 2})
    made = {one.source.name: one for one in spread("a.mp4", "b.mp4", "c.mp4")}
    death = "the worker failed (The worker died unexpectedly)"
    assert (made["a.mp4"].error, made["a.mp4"].retried) == ("a.mp4 by hourglass-s", f"a.mp4: {death}")
    assert (made["b.mp4"].error, made["b.mp4"].retried) == (f"b.mp4: {death}", f"b.mp4: {death}")
    assert (made["c.mp4"].error, made["c.mp4"].retried) == ("c.mp4 by hourglass-s", None)
    assert len(acted.given) == 5


@pytest.mark.parametrize(("device", "gpus", "wanted"), [("auto", 0, 0), ("auto", 2, 1), ("cpu", 2, 0), ("cuda", 0, 1)])
def test_a_task_takes_a_graphics_card_if_wanted(act, device, gpus, wanted):
    acted = act(gpus=gpus)
    spread("a.mp4", device=device)
    assert acted.needs == {"num_cpus": 1, "num_gpus": wanted, "max_retries": 0}  # trying again is ours to do


# What is wrong


def test_without_the_package_the_extra_is_named(posecli, tmp_path, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ray" else find_spec(name))
    result = posecli("video", "a.mp4", "--out-dir", tmp_path / "out", "--ray", "local")
    assert result.code == 1
    assert result.err == "posecli: --ray needs the package ray: pip install 'posecli[ray]'\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("address", ["nonsense", "ray://host:5", "host:", ":5", "host:five"])
def test_what_is_no_address_is_said(monkeypatch, address):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: object())
    with pytest.raises(InputError) as caught:
        on_ray(address)
    assert str(caught.value) == f"--ray {address}: give auto, local or host:port"


@pytest.mark.skipif(not HAS_RAY, reason="the package ray is not installed: pip install 'posecli[ray]'")
def test_where_no_cluster_answers(tmp_path):
    clip = plain_clip(tmp_path / "a.mp4")
    words = ["video", str(clip), "--out-dir", str(tmp_path / "out"), "--ray", "127.0.0.1:9"]
    run = subprocess.run([sys.executable, "-m", "pipeline.cli", *words], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr == (
        "posecli: --ray 127.0.0.1:9: there is no Ray cluster to use ([Errno 111] Connection refused); start one with "
        "'ray start --head', or give --ray local\n"
    )
    assert names_in(tmp_path / "out") == ["report.json"]


# The real thing, with two workers. Starting it takes a while.


def processes() -> dict[int, tuple[int, str]]:
    """The parent and the command of every process."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            found[int(folder.name)] = parent, (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except OSError:
            continue
    return found


def busy_workers(of: int) -> list[int]:
    """Ray's workers, descended from a process, that have a task."""
    known, busy = processes(), []
    for number, (_, command) in known.items():
        line = number
        while line in known and line != of:
            line = known[line][0]
        if line == of and command.startswith("ray::_task"):
            busy.append(number)
    return busy


@pytest.fixture(scope="module")
def spread_run(tmp_path_factory) -> tuple[Path, list[Path], subprocess.CompletedProcess, int]:
    """Four clips, one of them bad, made on two workers, one of which is killed while it is busy. The most workers that
    were busy at a time come last.
    """
    if not HAS_RAY:
        pytest.skip("the package ray is not installed: pip install 'posecli[ray]'")
    folder = tmp_path_factory.mktemp("spread")
    clips = [plain_clip(folder / f"{name}.mp4", frames=60, size=(320, 180)) for name in "ab"]
    clips += [short_clip(folder / "c.mp4", frames=4), folder / "d.mp4"]
    clips[3].write_text("no video")
    words = [*map(str, clips), "--out-dir", str(folder / "out"), "--export", "json", "--ray", "local"]
    command = [sys.executable, "-m", "pipeline.cli", "video", *words]
    most = killed = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        while run.poll() is None:
            busy = busy_workers(run.pid)
            most = max(most, len(busy))
            if busy and not killed and list(folder.glob("out/.posecli-work/*/.posecli-*.mp4")):
                killed = busy[0]
                os.kill(killed, signal.SIGKILL)
            time.sleep(0.02)
        out, err = run.communicate()
    assert killed
    return folder, clips, subprocess.CompletedProcess(command, run.returncode, out, err), most


def clips_of(folder: Path) -> dict[str, dict]:
    report = json.loads((folder / "out" / "report.json").read_text())
    return {Path(clip["source"]).stem: clip for clip in report["clips"]}


def test_two_workers_make_all_clips_and_one_that_dies_is_replaced(spread_run):
    folder, clips, run, most = spread_run
    assert run.returncode == 1, run.stderr
    found = clips_of(folder)
    assert [found[name]["status"] for name in "abcd"] == ["done", "done", "done", "failed"]
    assert found["d"]["error"].startswith(f"{clips[3]}: is no video")
    assert found["c"]["with_person"] == 4
    assert [bool(clip["retried"]) for clip in found.values()].count(True) == 1
    (retried,) = (clip["retried"] for clip in found.values() if clip["retried"])
    assert ": the worker failed (" in retried
    made = [f"{name}.{ending}" for name in "abc" for ending in ("json", "mp4")]
    assert names_in(folder / "out") == [*made, "report.json"]
    lines = run.stdout.splitlines()
    assert len(lines) == 5
    assert lines[-1] == f"4 clips: 3 done, 1 failed, 0 skipped -> {folder}/out/report.json"
    assert "Traceback" not in run.stderr
    if (os.cpu_count() or 1) > 1:
        assert most > 1


def test_a_run_without_ray_skips_what_was_made_with_it(spread_run, posecli):
    folder, clips, *_ = spread_run
    result = posecli("video", *clips[:3], "--out-dir", folder / "out", "--export", "json")
    assert result.code == 0, result.err
    assert result.out.splitlines()[-1].startswith("3 clips: 0 done, 0 failed, 3 skipped")
    result = posecli("video", *clips[:3], "--out-dir", folder / "out", "--export", "json", "--ray", "auto")
    assert result.code == 0, result.err  # nothing is to do, so no cluster is looked for

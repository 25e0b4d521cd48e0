"""What the world does to a run: full disks, signals, devices that are absent or full, and two runs at once.

Each ends in one line or none, the right exit code, and only whole files. What clips, photos, weights and reports
that are damaged do is tested where they are read.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import runtime
from pipeline.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from pipeline.errors import OutputError
from pipeline.export import WRITERS, export
from pipeline.export_view import Footage
from pipeline.render import Renderer
from pipeline.video import VideoWriter, probe, read_frames
from tests.full_disk import files_up_to
from tests.pipeline.clips import contents
from tests.pipeline.posed import two_people
from tests.pipeline.quick import FRAMES, Nobody, plain_clip, quicken

NO_SPACE = "cannot be written (No space left on device); free some space or choose another folder"


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def clip(tmp_path, monkeypatch) -> Path:
    """A clip whose poses are found quickly; what else is temporary is put into a folder beside its own."""
    quicken(monkeypatch)
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "work").mkdir()
    return plain_clip(tmp_path / "work" / "in.mp4")


def nothing_temporary(clip: Path) -> bool:
    return names_in(clip.parents[1] / "scratch") == [] and not any(n.startswith(".") for n in names_in(clip.parent))


# A full disk


def full(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def half_written(path: Path, content: bytes) -> None:
    """As `Path.write_bytes` does it when the disk fills up."""
    with path.open("wb") as file:
        file.write(memoryview(content)[: len(content) // 2])
    full()


@pytest.mark.parametrize("moment", ["while frames are written", "when the video is completed"])
def test_a_disk_that_is_full_for_the_video(posecli, clip, monkeypatch, moment):
    out = clip.with_name("out.mp4")
    out.write_bytes(b"earlier")
    where = {"while frames are written": "write", "when the video is completed": "_close"}[moment]

    def fails(writer: VideoWriter, *rest: object) -> None:
        if where == "_close" and rest[0] is not None:  # the block ended badly, but not by this
            return
        with writer._reporting():
            full()

    monkeypatch.setattr(VideoWriter, where, fails)
    result = posecli("video", clip, "--out", out, "--export", out.with_suffix(".json"))
    assert result.code == 1
    assert [line for line in result.err.splitlines() if "posecli" in line] == [f"posecli: {out}: {NO_SPACE}"]
    assert out.read_bytes() == b"earlier"
    assert names_in(clip.parent) == ["in.mp4", "out.mp4"]
    assert nothing_temporary(clip)


@pytest.mark.parametrize("ending", [".h5", ".json", ".csv", ".npz"])  # those that need nobody
def test_a_disk_that_is_full_for_an_export(posecli, clip, monkeypatch, ending):
    out, poses = clip.with_name("out.mp4"), clip.with_name(f"poses{ending}")
    poses.write_bytes(b"earlier")
    monkeypatch.setattr(Path, "write_bytes", half_written)
    result = posecli("video", clip, "--out", out, "--export", poses)
    assert result.code == 1
    assert [line for line in result.err.splitlines() if "posecli" in line] == [f"posecli: {poses}: {NO_SPACE}"]
    assert poses.read_bytes() == b"earlier"
    assert names_in(clip.parent) == sorted(["in.mp4", "out.mp4", poses.name])
    assert len(contents(out, times_only=True).times) == FRAMES  # the video was whole before


@pytest.mark.parametrize("ending", WRITERS)
def test_a_file_of_poses_that_the_system_cuts_short(tmp_path, ending):
    path, poses = tmp_path / f"walk{ending}", two_people()
    path.write_bytes(b"earlier")
    with files_up_to(1000), pytest.raises(OutputError) as caught:
        export(path, poses)
    assert str(caught.value) == f"{path}: cannot be written (File too large); free some space or choose another folder"
    assert path.read_bytes() == b"earlier"
    assert names_in(tmp_path) == [path.name]


def test_the_video_in_a_page_that_the_system_cuts_short(clip):
    poses = two_people()
    frames = (frame for _ in range(poses.frames) for frame in read_frames(clip))
    with files_up_to(1000), pytest.raises(OutputError, match=r"clip\.mp4: cannot be written \(File too large"):
        export(clip.with_name("walk.html"), poses, footage=Footage(probe(clip), frames))
    assert names_in(clip.parent) == ["in.mp4"]
    assert nothing_temporary(clip)


def test_a_disk_that_is_full_for_weights(tmp_path, monkeypatch):
    path = tmp_path / "weights.safetensors"
    one, other = (Checkpoint("lifter", "x", {}, {}, {"a": torch.full((500,), value)}) for value in (1.0, 2.0))
    save_checkpoint(path, one)
    monkeypatch.setattr(Path, "write_bytes", half_written)
    with pytest.raises(OutputError) as caught:
        save_checkpoint(path, other)
    assert str(caught.value) == f"{path}: {NO_SPACE}"
    assert load_checkpoint(path, "lifter").tensors["a"].eq(1).all()
    assert names_in(tmp_path) == [path.name]


# Signals


def after(count: int, code: int, whole: Callable) -> Callable:
    """The function, which at its call number `count` first gets the signal that ends a program with an exit code."""
    calls = []

    def interrupted(*words: object, **options: object) -> object:
        calls.append(words)
        if len(calls) == count:
            signal.raise_signal(code - 128)
        return whole(*words, **options)

    return interrupted


def while_finding(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr(Nobody, "update", after(2, code, Nobody.update))


def while_drawing(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr(Renderer, "draw", after(2, code, Renderer.draw))


def while_exporting(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def stopped(path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(memoryview(content)[:10])
            signal.raise_signal(code - 128)

    monkeypatch.setattr(Path, "write_bytes", stopped)


def while_making_a_page(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr(VideoWriter, "write", after(FRAMES + 2, code, VideoWriter.write))


STAGES = {
    "finding": (while_finding, ["in.mp4"]),
    "drawing": (while_drawing, ["in.mp4"]),
    "exporting": (while_exporting, ["in.mp4", "out.mp4"]),
    "making a page": (while_making_a_page, ["in.mp4", "out.mp4"]),
}


@pytest.mark.parametrize("code", [130, 143, 129])
@pytest.mark.parametrize("stage", STAGES)
def test_a_signal_leaves_only_whole_files(posecli, clip, monkeypatch, stage, code):
    interrupt, left = STAGES[stage]
    interrupt(monkeypatch, code)
    kind = "html" if stage == "making a page" else "h5"
    result = posecli("video", clip, "--out", clip.with_name("out.mp4"), "--export", clip.with_name(f"p.{kind}"))
    assert result.code == code
    assert result.out == ""
    assert "Traceback" not in result.err
    assert "posecli" not in result.err
    assert names_in(clip.parent) == left
    assert nothing_temporary(clip)
    if "out.mp4" in left:
        assert len(contents(clip.with_name("out.mp4"), times_only=True).times) == FRAMES


@pytest.mark.parametrize(("stage", "number"), [(b"find:", signal.SIGINT), (b"draw:", signal.SIGTERM)])
def test_a_signal_from_another_process(tmp_path, stage, number):
    clip = plain_clip(tmp_path / "in.mp4", frames=40, size=(640, 360))
    command = [sys.executable, "-m", "pipeline.cli", "video", str(clip), "--out", str(tmp_path / "out.mp4")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as other:
        assert other.stderr is not None
        said = b""
        while stage not in said:
            said += (piece := os.read(other.stderr.fileno(), 1000))
            assert piece, said
        other.send_signal(number)
        out, rest = other.communicate()
    assert other.returncode == 128 + number
    assert out == b""
    assert b"Traceback" not in said + rest
    assert names_in(tmp_path) == ["in.mp4"]


# Devices


@pytest.mark.parametrize("place", ["--out", "--out-dir"])
def test_a_gpu_that_is_not_there(posecli, tmp_path, place):
    clip, out = plain_clip(tmp_path / "in.mp4"), tmp_path / "out.mp4"  # the latter may be a folder's name
    result = posecli("video", clip, place, out, "--device", "cuda:63")
    assert result.code == 1
    (line,) = result.err.splitlines()
    assert line.startswith("posecli: device 'cuda:63' cannot be used: ")
    assert line.endswith("; try --device cpu")
    assert {path.name for path in tmp_path.rglob("*")} <= {"in.mp4", "out.mp4", "report.json"}
    assert not out.is_file()


def test_a_gpu_without_room_for_anything(posecli, tmp_path, monkeypatch):
    def no_room(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    monkeypatch.setattr(runtime, "_run_torch", no_room)
    clip = plain_clip(tmp_path / "in.mp4")
    result = posecli("video", clip, "--out", tmp_path / "out.mp4", "--runtime", "torch")
    assert result.code == 1
    lines = [line for line in result.err.replace("\r", "\n").splitlines() if "posecli" in line]
    assert lines == [
        "posecli: the device's memory is full; close other programs that use it, or try --device cpu",
    ]
    assert "Traceback" not in result.err
    assert names_in(tmp_path) == ["in.mp4"]


# Two runs at once


def test_of_two_runs_that_write_one_video_the_last_to_finish_wins(tmp_path):
    clip, out = plain_clip(tmp_path / "in.mp4", frames=4), tmp_path / "out.mp4"
    frames = list(read_frames(clip))
    dark, light = (np.full((48, 64, 3), value, np.uint8) for value in (0, 255))
    writers = [VideoWriter(out, (64, 48), info=probe(clip)) for _ in range(2)]
    with writers[0] as early:
        early.write(dark, frames[0])
        with writers[1] as late:
            for frame in frames:
                late.write(light, frame)
            early.write(dark, frames[1])
            assert len([name for name in names_in(tmp_path) if name.startswith(".posecli-")]) == 2
        assert len(contents(out).images) == len(frames)  # whole, while the other one is still at it
        assert contents(out).images[0].mean() > 200
    assert len(contents(out).images) == 2
    assert contents(out).images[0].mean() < 50
    assert names_in(tmp_path) == ["in.mp4", "out.mp4"]


def test_of_two_runs_that_write_one_export_the_last_to_finish_wins(tmp_path, monkeypatch):
    """The other one finishes in the middle of the first one's writing."""
    path, poses, nested = tmp_path / "p.json", two_people(), []
    whole = Path.write_bytes

    def writes(temporary: Path, content: bytes) -> int:
        whole(temporary, bytes(content)[:100])
        if not nested:
            nested.append(temporary)
            export(path, poses)
            assert path.read_bytes() == bytes(content)
            path.write_text("marked")
        return whole(temporary, content)

    monkeypatch.setattr(Path, "write_bytes", writes)
    export(path, poses)
    assert path.read_text().startswith("{")
    assert names_in(tmp_path) == ["p.json"]

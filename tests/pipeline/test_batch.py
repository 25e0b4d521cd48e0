"""Many clips into one folder: the report, skipping, going on after errors, and one run at a time."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import atomic, batch, run
from pipeline.batch_report import Entry, Recipe, Report
from pipeline.errors import DataError
from pipeline.lock import LOCK, locked
from pipeline.render import Renderer
from pipeline.run import Models
from pipeline.weights import file_sha256, find_weights, names
from tests.pipeline.clips import contents
from tests.pipeline.quick import FRAMES, plain_clip, quicken
from tests.pipeline.test_handing_over import short_clip


@pytest.fixture
def loads(monkeypatch) -> list[dict[str, object]]:
    """Clips are quick, as nobody is looked for in them; how often networks would have been loaded is counted."""
    return quicken(monkeypatch)


@pytest.fixture
def three(tmp_path, loads) -> list[Path]:
    """Two clips, and between them a file that is none."""
    folder = tmp_path / "clips"
    folder.mkdir()
    bad = folder / "b.mp4"
    bad.write_text("no video")
    return [plain_clip(folder / "a.mp4"), bad, plain_clip(folder / "c.mov", frames=FRAMES + 1)]


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out"


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def clips_of(folder: Path) -> dict[str, dict]:
    """The clips of a report by the name of their file."""
    report = json.loads((folder / "report.json").read_text())
    assert (report["format"], report["version"]) == ("posecli report", 1)
    return {Path(clip["source"]).name: clip for clip in report["clips"]}


def statuses(folder: Path) -> list[str]:
    return [clip["status"] for clip in clips_of(folder).values()]


# What it makes


def test_a_bad_clip_does_not_stop_the_others(posecli, three, out):
    result = posecli("video", *three, "--out-dir", out, "--export", "json", "--export", ".CSV", "--export", "json")
    assert result.code == 1
    assert names_in(out) == ["a.csv", "a.json", "a.mp4", "c.csv", "c.json", "c.mp4", "report.json"]
    assert len(contents(out / "c.mp4", times_only=True).times) == FRAMES + 1
    one, two, three_, last = result.out.splitlines()
    assert one.startswith(f"[1/3] done: {three[0]}: {FRAMES} frames, 0 with a person, ")
    assert one.endswith(f" -> {out}/a.mp4, {out}/a.json, {out}/a.csv")
    assert two == f"[2/3] failed: {three[1]}: is no video, or one that was cut short; " + (
        "copy it again or convert it to mp4"
    )
    assert three_.startswith(f"[3/3] done: {three[2]}: {FRAMES + 1} frames")
    assert last == f"3 clips: 2 done, 1 failed, 0 skipped -> {out}/report.json"
    assert "Traceback" not in result.err


def test_the_report_tells_all_about_each_clip(posecli, three, out):
    posecli("video", *three, "--out-dir", out, "--export", "json", "--people", 2, "--height", 180)
    a, b, c = clips_of(out).values()
    assert set(a) == set(b) == {
        *("source", "status", "error", "retried", "frames", "with_person", "seconds", "outputs"),
        *("source_bytes", "source_modified_ns", "options", "weights", "versions"),
    }  # fmt: skip
    assert a["source"] == str(three[0])
    assert (a["status"], a["error"], a["frames"], a["with_person"]) == ("done", None, FRAMES, 0)
    assert a["outputs"] == ["a.mp4", "a.json"]
    assert 0 < a["seconds"] < 600
    assert (a["source_bytes"], a["source_modified_ns"]) == (three[0].stat().st_size, three[0].stat().st_mtime_ns)
    common = {"smooth": "light", "fov": None, "salvage": False, "frames": None}
    assert a["options"] == {**common, "height_cm": 180, "people": 2, "export": [".json"]}
    for stage, kind, name in (("detector", "hourglass", names("hourglass")[0]), ("lifter", "lifter", "baseline")):
        weights = find_weights(kind, name)
        assert a["weights"][stage] == {"file": weights.name, "sha256": file_sha256(weights)}
    assert a["versions"]["torch"] == torch.__version__
    assert {"posecli", "python", "av", "numpy"} < set(a["versions"])
    assert (b["status"], b["frames"], b["with_person"], b["seconds"], b["outputs"]) == ("failed", None, None, None, [])
    assert b["error"].startswith(f"{three[1]}: is no video")
    assert c["frames"] == FRAMES + 1


def test_one_clip_is_a_batch_too_and_the_folder_is_made(posecli, three, tmp_path):
    folder = tmp_path / "new" / "out"
    result = posecli("video", three[0], three[0], "--out-dir", folder)  # given twice, made once
    assert result.code == 0, result.err
    assert result.out.splitlines()[-1] == f"1 clip: 1 done, 0 failed, 0 skipped -> {folder}/report.json"
    assert names_in(folder) == ["a.mp4", "report.json"]


def test_people_are_found_and_handed_over(posecli, tmp_path, out):  # with nothing made quick
    clip = short_clip(tmp_path / "in.mp4", frames=4)
    result = posecli("video", clip, "--out-dir", out, "--export", "bvh")
    assert result.code == 0, result.err
    assert clips_of(out)["in.mp4"]["with_person"] == 4
    assert (out / "in.bvh").read_text().startswith("HIERARCHY")


def test_an_export_that_needs_a_person_fails_that_clip_as_a_whole(posecli, three, out):
    result = posecli("video", three[0], "--out-dir", out, "--export", "bvh")
    assert result.code == 1
    assert result.out.splitlines()[0] == (
        f"[1/1] failed: {out}/a.bvh: nobody was found in a.mp4, and a .bvh file is of one person; "
        "choose .json, .csv, .npz or .h5"
    )
    assert names_in(out) == ["report.json"]


def test_an_error_of_ours_stops_one_clip_and_keeps_its_traceback(posecli, three, out, monkeypatch, caplog):
    whole = batch.process_video

    def fails_at_a(source: Path, *rest: object, **options: object) -> object:
        if source.name == "a.mp4":
            raise RuntimeError("two\nlines")
        return whole(source, *rest, **options)

    monkeypatch.setattr(batch, "process_video", fails_at_a)
    result = posecli("video", three[0], three[2], "--out-dir", out)
    assert result.code == 1
    assert statuses(out) == ["failed", "done"]
    assert clips_of(out)["a.mp4"]["error"] == f"{three[0]}: RuntimeError: two lines"
    (record,) = caplog.records
    assert record.getMessage() == f"{three[0]}: an error in posecli itself"
    assert record.exc_info
    assert names_in(out) == ["c.mp4", "report.json"]


def test_a_name_in_no_encoding(posecli, three, out):
    odd = three[0].with_name(os.fsdecode(b"caf\xe9.mp4"))
    three[0].rename(odd)
    result = posecli("video", odd, "--out-dir", out)
    assert result.code == 0, result.err
    assert posecli("video", odd, "--out-dir", out).out.startswith("[1/1] skipped: ")


# Run again


def test_what_is_finished_is_skipped_and_the_rest_is_done(posecli, three, out, loads):
    posecli("video", *three, "--out-dir", out)
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.mp4")}
    shutil.copy(three[2], three[1].with_suffix(".mov"))  # the bad one comes again, in another form
    three[1] = three[1].with_suffix(".mov")
    result = posecli("video", *three, "--out-dir", out)
    assert result.code == 0, result.err
    assert result.out.splitlines()[:2] == [
        f"[1/3] skipped: {three[0]}: finished before",
        f"[2/3] skipped: {three[2]}: finished before",
    ]
    assert result.out.splitlines()[-1] == f"3 clips: 1 done, 0 failed, 2 skipped -> {out}/report.json"
    assert all((out / name).stat().st_mtime_ns == time for name, time in before.items())
    clips = clips_of(out)
    assert [clips[name]["status"] for name in ("a.mp4", "b.mov", "c.mov", "b.mp4")] == [
        *("skipped", "done", "skipped", "failed")  # of earlier runs nothing is forgotten
    ]
    assert clips["a.mp4"]["frames"] == FRAMES
    assert len(loads) == 2
    result = posecli("video", *three, "--out-dir", out)  # skipped ones are skipped again
    assert result.out.splitlines()[-1].startswith("3 clips: 0 done, 0 failed, 3 skipped")
    assert len(loads) == 2  # no network is loaded for nothing


def _touch(source: Path, out: Path) -> list[object]:
    os.utime(source, ns=(1, 1))
    return []


def _grow(source: Path, out: Path) -> list[object]:
    times = source.stat()
    plain_clip(source, frames=FRAMES + 2)
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    return []


def _lose(source: Path, out: Path) -> list[object]:
    (out / "a.json").unlink()
    return []


CHANGES: dict[str, Callable[[Path, Path], list[object]]] = {
    "modified": _touch,
    "of another size": _grow,
    "an output is gone": _lose,
    "an option": lambda *_: ["--smooth", "strong"],
    "another export": lambda *_: ["--export", "csv"],
    "another lifter": lambda *_: ["--lifter", "gan"],
    "forced": lambda *_: ["--again"],
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_is_done_again(posecli, three, out, change):
    words = ("video", three[0], "--out-dir", out, "--export", "json")
    assert posecli(*words).code == 0
    assert posecli(*words).out.startswith("[1/1] skipped: ")
    result = posecli(*words, *CHANGES[change](three[0], out))
    assert result.code == 0, result.err
    assert result.out.startswith("[1/1] done: ")
    assert statuses(out) == ["done"]
    assert {"a.json", "a.mp4"} < set(names_in(out))


def test_a_clip_that_turns_bad_leaves_what_was_made_of_it(posecli, three, out):
    posecli("video", three[0], "--out-dir", out)
    before = (out / "a.mp4").read_bytes()
    three[0].write_text("no video any more")
    assert posecli("video", three[0], "--out-dir", out).code == 1
    assert (out / "a.mp4").read_bytes() == before
    assert statuses(out) == ["failed"]


def test_a_report_never_tells_of_files_that_are_half_replaced(posecli, three, out, monkeypatch):
    words = ("video", three[0], "--out-dir", out, "--export", "json")
    posecli(*words)
    whole = Path.replace

    def stopped(path: Path, target: Path) -> Path:
        if target == out / "a.json":
            signal.raise_signal(signal.SIGTERM)
        return whole(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", stopped)
        assert posecli(*words, "--again").code == 143
    assert clips_of(out) == {}
    assert posecli(*words).out.startswith("[1/1] done: ")


# One run at a time


def test_a_second_run_is_refused(posecli, three, out):
    out.mkdir()
    with locked(out):
        result = posecli("video", three[0], "--out-dir", out)
        assert names_in(out) == [LOCK]
    assert result.code == 1
    assert result.err == (
        f"posecli: {out}: process {os.getpid()} is writing to it; wait until it is done, or choose another folder\n"
    )


@pytest.mark.usefixtures("loads")
def test_a_run_that_is_killed_in_the_middle_of_a_clip(posecli, tmp_path, out):
    """By force, so that it tidies nothing up: the next run does, and goes on."""
    clips = [plain_clip(tmp_path / f"{name}.mp4", frames=60, size=(320, 180)) for name in "ab"]
    command = [sys.executable, "-m", "pipeline.cli", "video", *map(str, clips), "--out-dir", str(out)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as other:
        while not list(out.glob(f"{batch.WORK}/*/*")):
            assert other.poll() is None
            time.sleep(0.02)
        other.kill()
    assert {LOCK, batch.WORK} <= set(names_in(out))
    result = posecli("video", *clips, "--out-dir", out)
    assert result.code == 0, result.err
    assert names_in(out) == ["a.mp4", "b.mp4", "report.json"]


def test_what_a_killed_run_left_is_cleared_away(posecli, three, out):
    (out / batch.WORK / "xyz").mkdir(parents=True)
    (out / batch.WORK / "xyz" / "a.mp4").write_text("half")
    (out / LOCK).write_text("4000000\n")  # the number of no process
    result = posecli("video", three[0], "--out-dir", out)
    assert result.code == 0, result.err
    assert names_in(out) == ["a.mp4", "report.json"]


# Stopped


@pytest.mark.parametrize("code", [130, 143])
def test_a_run_that_is_stopped_goes_on_from_there(posecli, three, monkeypatch, caplog, code):
    clips, out = [three[0], three[2]], three[0].parent / "out"
    whole, drawn = Renderer.draw, []

    def draw(renderer: Renderer, *rest: object) -> np.ndarray:
        drawn.append(1)
        if len(drawn) == FRAMES + 2:  # in the middle of the second clip
            signal.raise_signal(code - 128)
        return whole(renderer, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(Renderer, "draw", draw)
        result = posecli("video", *clips, "--out-dir", out)
    assert result.code == code
    assert caplog.messages == ["stopped after 1 of 2 clips; the same command goes on from there"]
    assert "Traceback" not in result.err
    assert names_in(out) == ["a.mp4", "report.json"]
    assert statuses(out) == ["done"]
    result = posecli("video", *clips, "--out-dir", out)
    assert result.code == 0, result.err
    assert result.out.splitlines()[-1].startswith("2 clips: 1 done, 0 failed, 1 skipped")
    assert names_in(out) == ["a.mp4", "c.mp4", "report.json"]


def test_a_full_disk_fails_the_clip_and_the_earlier_files_stay(posecli, three, out, monkeypatch):
    posecli("video", three[0], "--out-dir", out)
    before = (out / "a.mp4").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(run.VideoWriter, "_mux_sound", full)
        result = posecli("video", three[0], three[2], "--out-dir", out, "--again")
    assert result.code == 1
    reason = "cannot be written (No space left on device); free some space or choose another folder"
    lines = [f"[{number}/2] failed: {out}/{name}.mp4: {reason}" for number, name in ((1, "a"), (2, "c"))]
    assert result.out.splitlines()[:2] == lines
    assert names_in(out) == ["a.mp4", "report.json"]
    assert (out / "a.mp4").read_bytes() == before


def test_a_report_that_cannot_be_written_ends_the_run(posecli, three, out, monkeypatch):
    posecli("video", three[0], "--out-dir", out)
    before = (out / "report.json").read_bytes()

    def full(path: Path, _content: bytes) -> None:
        raise atomic.cannot_write(path, OSError(28, "No space left on device"))

    monkeypatch.setattr("pipeline.batch_report.write_whole", full)
    result = posecli("video", three[0], three[2], "--out-dir", out)
    assert result.code == 1
    assert result.err.splitlines()[-1].startswith(f"posecli: {out}/report.json: cannot be written (No space left")
    assert (out / "report.json").read_bytes() == before
    assert names_in(out) == ["a.mp4", "report.json"]


# What is refused before anything is begun


@pytest.fixture
def no_start(monkeypatch) -> None:
    def load(**_options: object) -> Models:
        raise AssertionError("the networks were loaded first")

    monkeypatch.setattr(Models, "load", load)


USAGE = [
    (["{a}", "{b}"], "give a folder for the videos of several sources"),
    (["{a}", "{b}", "--out", "{o}/x.mp4"], "give a folder for the videos of several sources"),
    (["{a}"], "give the video to write, such as out.mp4, or --out-dir, a folder"),
    (["{a}", "--out", "{o}/x.mp4", "--out-dir", "{o}"], "give --out for one source or --out-dir for several, not both"),
    (["{a}", "--out", "{o}/x.mp4", "--again"], "goes with --out-dir only"),
    (["{a}", "--out", "{o}/x.mp4", "--ray", "local"], "goes with --out-dir only"),
    (["{a}", "--out-dir", "{o}", "--runtime", "tensorflow"], "give one of auto, torch, onnx"),
    (["--out-dir", "{o}"], "Missing argument"),
]


@pytest.mark.parametrize(("words", "message"), USAGE)
@pytest.mark.usefixtures("no_start")
def test_options_that_do_not_go_together(posecli, tmp_path, words, message):
    (tmp_path / "out").mkdir()
    places = {"a": tmp_path / "a.mp4", "b": tmp_path / "b.mp4", "o": tmp_path / "out"}
    result = posecli("video", *(word.format(**places) for word in words))
    assert result.code == 2
    text = " ".join(result.err.replace("│", " ").split())  # it is printed in a box
    assert message in text
    assert names_in(tmp_path / "out") == []


REFUSED = [
    (["x/a.mp4", "y/a.mov"], [], "{x}/a.mp4 and {y}/a.mov would both become a.mp4; rename one, or use two folders"),
    (["x/a.mp4", "y/A.mp4"], [], "{x}/a.mp4 and {y}/A.mp4 would both become A.mp4; rename one, or use two folders"),
    (
        ["x/a_2.mp4", "x/a.mp4"],
        ["--export", "bvh"],
        "{x}/a_2.mp4: its files would have the names of a further person's in {x}/a.mp4; rename one, or use two ",
    ),
    (["x/a.mp4"], ["--export", "walk.bvh"], "--export walk.bvh: with --out-dir give an ending, one of .h5, .json, "),
    (["x/a.mp4"], ["--export", "txt"], "--export txt: with --out-dir give an ending, one of .h5, .json, .csv, "),
    (["x/a.mp4"], ["--fov", "5"], "--fov 5: give the horizontal field of view"),
    (["x/a.mp4"], ["--height", "40"], "--height 40: people are 50 to 260 cm tall"),
    (["x/a.mp4"], ["--lifter", "nope"], "no lifter 'nope': give one of baseline, "),
]


@pytest.mark.parametrize(("sources", "options", "line"), REFUSED)
@pytest.mark.usefixtures("no_start")
def test_what_cannot_be_is_one_line_before_the_first_clip(posecli, tmp_path, sources, options, line):
    out = tmp_path / "out"
    result = posecli("video", *(tmp_path / source for source in sources), "--out-dir", out, *options)
    assert result.code == 1
    (said,) = result.err.splitlines()
    assert said.startswith("posecli: " + line.format(x=tmp_path / "x", y=tmp_path / "y"))
    assert not out.exists()


@pytest.mark.parametrize("name", ["a_1.mp4", "a_02.mp4", "a_b.mp4"])
def test_names_that_only_look_like_those_of_further_people(posecli, three, out, name):
    other = plain_clip(three[0].with_name(name))
    assert posecli("video", three[0], other, "--out-dir", out, "--export", "json").code == 0
    assert len(names_in(out)) == 5


@pytest.mark.usefixtures("no_start")
def test_no_clip_is_overwritten_by_a_result(posecli, three):
    before = three[0].read_bytes()
    result = posecli("video", three[0], "--out-dir", three[0].parent)
    assert result.code == 1
    assert result.err == (
        f"posecli: {three[0]}: is a video that is read, and would be overwritten; choose another --out-dir\n"
    )
    assert three[0].read_bytes() == before
    assert names_in(three[0].parent) == ["a.mp4", "b.mp4", "c.mov"]


@pytest.mark.usefixtures("no_start")
def test_a_folder_that_cannot_be(posecli, three):
    result = posecli("video", three[0], "--out-dir", three[1])
    assert result.code == 1
    assert result.err == f"posecli: {three[1]}: the folder cannot be made (File exists); choose another one\n"


# The report


def entry(folder: Path, *, status: str = "done", outputs: tuple[str, ...] = ("a.mp4",)) -> Entry:
    recipe = Recipe(str(folder / "a.mov"), 5, 7, {"smooth": "light", "export": []}, {"lifter": {"file": "f"}})
    return Entry(recipe, status, {"posecli": "1"}, frames=3, with_person=2, seconds=0.5, outputs=outputs)


def test_a_report_comes_back_as_it_was_written(tmp_path):
    one = entry(tmp_path)
    Report(tmp_path).put(one)
    (clip,) = json.loads((tmp_path / "report.json").read_text())["clips"]
    assert Entry.from_json(clip) == one
    report = Report.read(tmp_path)
    assert report.finished(one.recipe) is None  # its video is not there
    (tmp_path / "a.mp4").touch()
    found = report.finished(one.recipe)
    assert found is not None
    assert {**asdict(found), "status": "done"} == asdict(one)
    report.forget(one.recipe)
    assert json.loads((tmp_path / "report.json").read_text())["clips"] == []


def test_a_failed_clip_is_not_finished(tmp_path):
    one = entry(tmp_path, status="failed", outputs=())
    Report(tmp_path).put(one)
    assert Report.read(tmp_path).finished(one.recipe) is None


def _clip(**changes: object) -> dict[str, object]:
    fields = {**entry(Path("/x")).to_json(), **changes}
    return {"format": "posecli report", "version": 1, "clips": [fields]}


def _nested(levels: int) -> object:
    return {"a": _nested(levels - 1)} if levels else 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff\xfe",
        b'{"clips": []}',
        b'{"format": "posecli report", "version": 2, "clips": []}',
        b'{"format": "posecli report", "version": 1, "clips": [{}]}',
        b'{"format": "posecli report", "version": 1, "clips": 5}',
        json.dumps(_clip(outputs=[5])).encode(),
        json.dumps(_clip(outputs=None)).encode(),
        json.dumps(_clip(source=None)).encode(),
        json.dumps(_clip(surprise=1)).encode(),
        b"[" * 100_000,
        b'{"format": "posecli report", "version": 1, "clips": ' + b'[{"a":' * 100_000,
        json.dumps(_clip(options=_nested(400))).encode(),  # it can be read, but not be written again
    ],
)
def test_another_report_is_not_touched(tmp_path, content):
    (tmp_path / "report.json").write_bytes(content)
    with pytest.raises(DataError) as caught:
        Report.read(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}/report.json: not a report of this posecli; move it away or choose another folder"
    )
    assert (tmp_path / "report.json").read_bytes() == content


def test_a_report_of_many_megabytes_is_not_read(tmp_path):
    (tmp_path / "report.json").touch()
    os.truncate(tmp_path / "report.json", 2**29 + 1)
    with pytest.raises(DataError, match=r"report\.json: holds 513 MB, more than the limit of 512 MB; "):
        Report.read(tmp_path)


def test_another_report_ends_the_run(posecli, three, out):
    out.mkdir()
    (out / "report.json").write_text("mine")
    result = posecli("video", three[0], "--out-dir", out)
    assert result.code == 1
    assert "report.json: not a report of this posecli" in result.err
    assert names_in(out) == ["report.json"]

"""`posecli video` of a stream, by the real command line: what is shown and recorded, what is dropped, how it ends."""

import os
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import cv2
import numpy as np
import pytest

from pipeline import capture, live, posestore
from pipeline.capture import Latest
from pipeline.errors import DeviceError, InputError
from pipeline.live import LiveJob, Watched, watch
from pipeline.render import Renderer, RenderOptions
from pipeline.run import Models, Wishes
from pipeline.sighting import Sighting
from pipeline.skeleton import LSP14
from pipeline.video import Frame
from pipeline.window import Window
from tests.pipeline.clips import contents, numbered, quarters
from tests.pipeline.streams import RATE, moving, sender
from tests.pipeline.test_capture import FakeCamera
from tests.pipeline.test_render import flat
from tests.pipeline.tiny import tiny_models

ROOT = Path(__file__).parents[2]
SIZE = (160, 120)
SUMMARY = re.compile(r"(\d+) frames shown, (\d+) dropped, (\d+) with a person, (\d+\.\d) frames/s(?: -> (.*))?\n")
LOST = "no more pictures come: it was switched off, or the connection is lost"


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Models:
    return tiny_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def use_tiny(models, monkeypatch) -> list[str]:
    """The detectors that were asked for, in whose place there are tiny models."""
    asked = []

    def load(*, hourglass: str, **_: object) -> Models:
        asked.append(hourglass)
        return models

    monkeypatch.setattr(Models, "load", load)
    return asked


@pytest.fixture
def no_models(monkeypatch) -> None:
    def load(**_weights: object) -> Models:
        raise AssertionError("the models were loaded first")

    monkeypatch.setattr(Models, "load", load)


class Everyone:
    """A tracker that sees people, always the same, in every frame, after thinking for a while."""

    def __init__(self, people: int, *, think_s: float = 0.0, fail_after: int = 10**9) -> None:
        places = (flat(scale=0.06, centre=(50 + 60 * number, 110)) for number in range(people))
        self._seen = {number + 1: Sighting(xy, np.ones(len(LSP14))) for number, xy in enumerate(places)}
        self._think_s, self._left = think_s, fail_after

    def update(self, _image: np.ndarray, _time_s: float) -> dict[int, Sighting]:
        time.sleep(self._think_s)
        self._left -= 1
        if self._left < 0:
            raise DeviceError("device 'cuda' is out of memory; use --device cpu")
        return self._seen


def everyone(monkeypatch, **options: float) -> None:
    monkeypatch.setattr(Models, "tracker", lambda _self, people: Everyone(people, **options))


def frame_part(picture: np.ndarray) -> np.ndarray:
    """The frame (H, W, 3) in a picture, in which small ones are drawn larger."""
    height = RenderOptions.min_height
    return cv2.resize(picture[:height, : height * SIZE[0] // SIZE[1]], SIZE, interpolation=cv2.INTER_AREA)


# A stream as it comes


def test_a_stream_is_recorded_as_it_comes(posecli, tmp_path, monkeypatch, caplog, use_tiny):
    everyone(monkeypatch)
    out = tmp_path / "out.mp4"
    with sender(frames=75, size=SIZE) as address:
        result = posecli("video", address, "--out", out, "--people", 2, "--device", "cpu")
    assert result.code == 0, result.err
    assert use_tiny == ["hourglass-s"]  # the one that is quick enough
    shown, dropped, seen, rate, written = SUMMARY.fullmatch(result.out).groups()
    assert written == str(out)
    recorded = contents(out)
    assert len(recorded.images) == int(shown) == int(seen) > 10
    assert int(shown) + int(dropped) <= 75
    assert recorded.times[0] == 0
    seconds = float(recorded.times[-1])
    assert seconds <= 75 / RATE + 1
    assert float(rate) == pytest.approx(int(shown) / seconds, abs=0.06)
    assert [record.getMessage() for record in caplog.records] == [f"{address}: {LOST}"]
    assert re.search(r"live: \d+frame \[.*frame/s, \d+ dropped\]", result.err)  # the running line
    # The last frame is the stream's last, with two people in it, and they are in the 3D view too.
    last = frame_part(recorded.images[-1])
    turned = np.roll(last, -4 * 74, axis=1)
    assert quarters(turned) == quarters(moving(0, SIZE))
    view = recorded.images[-1][:, RenderOptions.min_height * 4 // 3 + 4 :].astype(int)
    assert (view[:200, :, 0] - view[:200, :, 2] > 100).sum() > 50  # blue: left
    assert recorded.sound == []


@pytest.mark.usefixtures("use_tiny")
def test_who_computes_slowly_drops_frames_and_says_so(posecli, tmp_path, monkeypatch):
    everyone(monkeypatch, think_s=0.25)
    out = tmp_path / "out.mp4"
    with sender(frames=100, size=SIZE) as address:
        result = posecli("video", address, "--out", out)
    shown, dropped, *_ = map(int, SUMMARY.fullmatch(result.out).groups()[:2])
    times = contents(out, times_only=True).times
    assert len(times) == shown > 3
    gaps = np.diff([float(time) for time in times])
    assert np.median(gaps) > 0.2
    # Every frame that came between the first and the last shown was shown or dropped.
    assert shown + dropped == pytest.approx(1 + float(times[-1]) * RATE, abs=4)
    assert dropped > 3 * shown


class Scripted:
    """Frames with these indices, ten a second, then the end."""

    def __init__(self, *indices: int) -> None:
        self._frames = [Frame(index, index / 10, numbered(index % 25, SIZE)) for index in indices]

    @property
    def ended(self) -> bool:
        return not self._frames

    def take(self, _timeout_s: float) -> Frame | None:
        return self._frames.pop(0)


def test_dropped_frames_are_counted_and_time_starts_with_the_first_shown(tmp_path, models, monkeypatch):
    everyone(monkeypatch)
    job = LiveJob("0", tmp_path / "out.mp4")
    watched = watch(job, Scripted(30, 31, 34, 40), models, size=SIZE, asked=Event())
    assert (watched.dropped, watched.with_person) == (2 + 5, 4)
    assert watched.times == pytest.approx([0, 0.1, 0.4, 1.0])
    assert [float(time) for time in contents(job.out).times] == pytest.approx([0, 0.1, 0.4, 1.0], abs=1e-4)
    assert str(watched.summary([job.out])) == f"4 frames shown, 7 dropped, 4 with a person, 4.0 frames/s -> {job.out}"
    assert str(Watched("camera 0", SIZE, times=[0.0]).summary([])) == (
        "1 frames shown, 0 dropped, 0 with a person, 0.0 frames/s"
    )


def test_every_option_of_drawing_is_heard(models, monkeypatch):
    everyone(monkeypatch)
    frame = Frame(0, 0.0, np.zeros((SIZE[1], SIZE[0], 3), np.uint8))
    drawn, draw = [], Renderer.draw

    def spy(self: Renderer, image: np.ndarray, figures: list, time_s: float) -> np.ndarray:
        drawn.append(figures)
        return draw(self, image, figures, time_s)

    monkeypatch.setattr(Renderer, "draw", spy)
    for wishes in (Wishes(), Wishes(fov=20.0), Wishes(height_cm=90.0), Wishes(people=2)):
        live.LiveArtist(models, SIZE, wishes=wishes).draw(frame)
    usual, narrow, small, _ = drawn
    assert [len(figures) for figures in drawn] == [1, 1, 1, 2]
    depth = usual[0].xyz[0, 1]
    assert narrow[0].xyz[0, 1] > 1.5 * depth
    assert 0.3 * depth < small[0].xyz[0, 1] < 0.7 * depth


def test_poses_are_handed_over_at_the_end(posecli, tmp_path, monkeypatch, use_tiny):
    everyone(monkeypatch)
    out, poses = tmp_path / "out.mp4", tmp_path / "poses.h5"
    with sender(frames=60, size=SIZE) as address:
        words = ("--out", out, "--export", poses, "--export", tmp_path / "walk.html", "--people", 2, "--fov", 60)
        result = posecli("video", address, *words, "--hourglass", "hourglass-m")
    assert result.code == 0, result.err
    assert use_tiny == ["hourglass-m"]
    assert result.out.endswith(f" -> {out}, {poses}, {tmp_path / 'walk.html'}\n")
    stored = posestore.read(poses)
    times = [float(time) for time in contents(out, times_only=True).times]
    assert (stored.source, stored.size, stored.focal_origin) == (address, SIZE, "--fov")
    np.testing.assert_allclose(stored.times, times, atol=1e-4)
    assert len(stored.people) == 2
    np.testing.assert_array_equal(stored.people[0].frame, np.arange(len(times)))


# How it ends


@pytest.mark.usefixtures("use_tiny")
def test_a_stream_that_falls_silent_leaves_a_whole_recording(posecli, tmp_path, monkeypatch, caplog):
    for module in (capture, live):
        monkeypatch.setattr(module, "SILENT_S", 1.5)
    hang, out = Event(), tmp_path / "out.mp4"
    with sender(frames=60, size=SIZE, hang=hang) as address:
        result = posecli("video", address, "--out", out)
        hang.set()
    assert result.code == 0, result.err
    assert [record.getMessage() for record in caplog.records] == [f"{address}: {LOST}"]
    assert len(contents(out).images) == int(result.out.split()[0]) > 5


@pytest.mark.usefixtures("use_tiny")
def test_a_camera_that_is_unplugged_leaves_a_whole_recording(posecli, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera)
    out = tmp_path / "out.mp4"
    result = posecli("video", "0", "--out", out)
    assert result.code == 0, result.err
    assert [record.getMessage() for record in caplog.records] == [f"camera 0: {LOST}"]
    assert len(contents(out).images) == int(result.out.split()[0]) > 0


@pytest.mark.usefixtures("use_tiny")
def test_a_source_that_hangs_without_an_end_is_noticed(tmp_path, models, monkeypatch, caplog):
    monkeypatch.setattr(live, "SILENT_S", 0.3)
    pause = Event()

    def pictures() -> Iterator[np.ndarray]:
        yield numbered(1, SIZE)
        pause.wait(60)

    with Latest(pictures(), lambda image: image) as latest:
        watched = watch(LiveJob("3", tmp_path / "out.mp4"), latest, models, size=SIZE, asked=Event())
        pause.set()
    assert len(watched.times) == 1
    assert [record.getMessage() for record in caplog.records] == [f"camera 3: {LOST}"]


@pytest.mark.usefixtures("use_tiny")
def test_an_error_on_the_way_leaves_what_was_recorded(posecli, tmp_path, monkeypatch):
    everyone(monkeypatch, fail_after=5)
    out = tmp_path / "out.mp4"
    with sender(frames=60, size=SIZE) as address:
        result = posecli("video", address, "--out", out)
    assert result.code == 1
    assert result.err.endswith("posecli: device 'cuda' is out of memory; use --device cpu\n")
    assert len(contents(out).images) == 5


def test_an_error_at_the_first_frame_leaves_nothing(tmp_path, models, monkeypatch):
    everyone(monkeypatch, fail_after=0)
    with pytest.raises(DeviceError):
        watch(LiveJob("0", tmp_path / "out.mp4"), Scripted(0, 1), models, size=SIZE, asked=Event())
    assert list(tmp_path.iterdir()) == []


def test_the_end_before_the_first_frame_leaves_nothing(tmp_path, models):
    with pytest.raises(InputError, match=r"^camera 0: ended before a picture could be shown; nothing was recorded$"):
        watch(LiveJob("0", tmp_path / "out.mp4"), Scripted(), models, size=SIZE, asked=Event())
    assert list(tmp_path.iterdir()) == []


@contextmanager
def running(folder: Path, *words: object, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """The program with tiny networks, in a process of its own."""
    code = f"""
from pathlib import Path
from pipeline import cli
from pipeline.run import Models
from tests.pipeline.tiny import tiny_models

models = tiny_models(Path({str(folder)!r}))
Models.load = lambda **_: models
cli.main()
"""
    command = [sys.executable, "-c", code, "video", *map(str, words)]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, env=variables, text=True, cwd=folder, **pipes)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until, "waited for 30 seconds"
        time.sleep(0.1)


def wait_for_frames(process: subprocess.Popen[str], *, count: int = 5) -> None:
    """Until the running line tells of so many frames."""
    assert process.stderr is not None
    said, until = "", time.monotonic() + 60
    while not any(int(number) >= count for number in re.findall(r"live: (\d+)frame", said)):
        ready, _, _ = select.select([process.stderr], [], [], max(0.0, until - time.monotonic()))
        more = os.read(process.stderr.fileno(), 65536).decode() if ready else ""
        if not more:
            pytest.fail(f"ended early, or does nothing: {said}")
        said += more


@pytest.mark.skipif(sys.platform == "win32", reason="signals of this kind are not sent there")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_ctrl_c_leaves_a_whole_recording(tmp_path, name):
    number, out = getattr(signal, name), tmp_path / "out.mp4"
    with sender(frames=2000, size=SIZE) as address, running(tmp_path, address, "--out", out) as process:
        wait_for_frames(process)
        process.send_signal(number)
        process.send_signal(number)  # by one who is impatient
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert LOST not in stderr
    assert "Traceback" not in stderr
    shown, *_ = SUMMARY.fullmatch(stdout).groups()
    assert len(contents(out).images) == int(shown) > 0
    assert sorted(path.name for path in tmp_path.glob("*.mp4")) == ["out.mp4"]


def test_signals_are_as_before_afterwards_and_ignored_ones_stay_ignored():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        usual = signal.getsignal(signal.SIGINT)
        with live.ended_by_signals() as asked:
            os.kill(os.getpid(), signal.SIGTERM)
            assert not asked.is_set()
            signal.raise_signal(signal.SIGINT)
            assert asked.is_set()
        assert signal.getsignal(signal.SIGINT) is usual
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


# The window


class FakeScreen:
    """What cv2 has for windows, with the keys that a user will press, and -1 for none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *keys: int, visible: int = 10**9, raises: bool = False) -> None:
        self.shown: list[np.ndarray] = []
        self.sizes: list[tuple[int, int]] = []
        self.open = 0
        self._keys, self._visible, self._raises = list(keys), visible, raises
        for name in ("namedWindow", "resizeWindow", "imshow", "waitKey", "getWindowProperty", "destroyAllWindows"):
            monkeypatch.setattr(cv2, name, getattr(self, name))

    def namedWindow(self, _title: str, _flags: int) -> None:  # noqa: N802
        self.open += 1

    def resizeWindow(self, _title: str, width: int, height: int) -> None:  # noqa: N802
        self.sizes.append((width, height))

    def imshow(self, _title: str, image: np.ndarray) -> None:
        self.shown.append(image)

    def waitKey(self, _delay: int) -> int:  # noqa: N802
        return self._keys.pop(0) if self._keys else -1

    def getWindowProperty(self, _title: str, _which: int) -> float:  # noqa: N802
        self._visible -= 1
        if self._visible < 0 and self._raises:
            raise cv2.error("NULL guiReceiver")
        return float(self._visible >= 0)

    def destroyAllWindows(self) -> None:  # noqa: N802
        self.open -= 1


@pytest.mark.parametrize("key", [ord("q"), ord("Q"), 27, 27 + 0x100000])
def test_keys_that_end(monkeypatch, models, caplog, key):
    screen = FakeScreen(monkeypatch, -1, ord("x"), key)
    everyone(monkeypatch)
    watched = watch(LiveJob("0", show=True), Scripted(*range(9)), models, size=SIZE, asked=Event())
    assert len(watched.times) == len(screen.shown) == 3
    assert screen.open == 0
    assert caplog.records == []
    assert str(watched.summary([])).endswith(" frames/s")


@pytest.mark.parametrize("raises", [False, True])
def test_closing_the_window_ends(monkeypatch, models, tmp_path, raises):
    screen = FakeScreen(monkeypatch, visible=4, raises=raises)
    out = tmp_path / "out.mp4"
    watch(LiveJob("0", out, show=True), Scripted(*range(9)), models, size=SIZE, asked=Event())
    assert len(screen.shown) == len(contents(out).images) == 5


def test_a_large_picture_gets_a_window_that_fits(monkeypatch):
    screen = FakeScreen(monkeypatch)
    with Window("posecli") as window:
        window.show(np.zeros((720, 2002, 3), np.uint8))
        window.show(np.zeros((720, 2002, 3), np.uint8))
    with Window("posecli") as window:
        window.show(np.zeros((240, 562, 3), np.uint8))
    assert screen.sizes == [(1280, 460), (562, 240)]


@pytest.fixture
def screen(tmp_path) -> Iterator[tuple[str, Path]]:
    """The name of a screen that nobody looks at, and the file of its pixels.

    It has a window manager, as every desktop has: without one, windows of Qt now and then stay blank.
    """
    missing = [tool for tool in ("Xvfb", "openbox", "xdotool") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"a screen for tests needs {', '.join(missing)}")
    reader, writer = os.pipe()
    words = ["-displayfd", str(writer), "-noreset", "-screen", "0", "1000x600x24", "-fbdir", str(tmp_path)]
    server = subprocess.Popen(["Xvfb", *words], pass_fds=[writer], stderr=subprocess.DEVNULL)
    os.close(writer)
    manager = None
    try:
        with os.fdopen(reader) as told:
            name = f":{told.readline().strip()}"
        environment = {**os.environ, "DISPLAY": name}
        manager = subprocess.Popen(["openbox"], env=environment, stderr=subprocess.DEVNULL)
        managed = ["xdotool", "get_num_desktops"]  # an error as long as there is no manager
        wait_until(lambda: subprocess.run(managed, env=environment, capture_output=True, check=False).returncode == 0)
        yield name, tmp_path / "Xvfb_screen0"
    finally:
        for process in (manager, server):
            if process is not None:
                process.terminate()
                process.wait()


def screenshot(path: Path) -> np.ndarray:
    """The pixels (H, W, 3) BGR of a file of XWD, the X Window Dump, as Xvfb keeps its screen in."""
    data = path.read_bytes()
    header = struct.unpack(">25I", data[:100])
    start, width, height, line, colours = header[0], header[4], header[5], header[12], header[19]
    pixels = np.frombuffer(data, np.uint8, height * line, start + 12 * colours)
    return pixels.reshape(height, -1, 4)[:, :width, :3]


@pytest.mark.parametrize("keys", ["q", "Escape", "alt+F4"])
def test_a_real_window_until_a_key_is_pressed_or_it_is_closed(screen, tmp_path, keys):
    display, pixels = screen
    out = tmp_path / "out.mp4"
    with (
        sender(frames=2000, size=SIZE) as address,
        running(tmp_path, address, "--show", "--out", out, DISPLAY=display) as process,
    ):
        wait_for_frames(process)
        wait_until(lambda: bool(screenshot(pixels).any()))
        shown = screenshot(pixels).astype(int)
        press = ["xdotool", "search", "--name", "^posecli - tcp", "windowactivate", "--sync", "key", keys]
        subprocess.run(press, env={**os.environ, "DISPLAY": display}, check=True, stdout=subprocess.DEVNULL)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert LOST not in stderr
    recorded = contents(out)
    assert len(recorded.images) == int(SUMMARY.fullmatch(stdout)[1])
    # A frame of 320 x 240 pixels, each quarter of another colour, beside 240 x 240 of paper.
    height, width = recorded.images[0].shape[:2]
    blue, green, red = (shown[..., channel] for channel in range(3))
    for colour in (red - np.maximum(blue, green), green - np.maximum(blue, red), blue - np.maximum(green, red)):
        assert 0.1 * height * width < (colour > 150).sum() < 0.25 * height * width
    assert 0.4 * height * width < (shown.min(-1) > 225).sum() < 0.7 * height * width


@pytest.mark.usefixtures("no_models")
def test_no_screen_is_said_before_anything_else(posecli, tmp_path, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    if sys.platform != "linux":
        pytest.skip("there always is a screen")
    result = posecli("video", "tcp://127.0.0.1:9", "--show", "--out", tmp_path / "out.mp4")
    assert result.code == 1
    (line,) = result.err.splitlines()
    assert line == "posecli: --show: there is no screen to open a window on; leave it out and give --out FILE.mp4"


# What cannot be


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["0"], "nothing to do with the pictures; give --show, --out or both"),
        (["rtsp://host/1", "--salvage", "--out", "{}/out.mp4"], "is for files; a recording is whole however it ends"),
        (["in.mp4", "--show", "--out", "{}/out.mp4"], "is for a camera or a stream; open the video when it is done"),
        (["in.mp4"], "give the video to write, such as out.mp4"),
        (["0", "--out", "{}/out.mp4", "--smooth", "much"], "'much': give one of off, light, strong"),
        (["0", "--out", "{}/out.mp4", "--runtime", "x"], "'x': give one of auto, torch, onnx"),
    ],
)
@pytest.mark.usefixtures("no_models")
def test_a_usage_error(posecli, tmp_path, words, said):
    result = posecli("video", *(word.format(tmp_path) for word in words))
    assert result.code == 2
    assert said in " ".join(result.err.replace("│", " ").split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ftp://host/a"], "ftp://host/a: no address of a stream"),
        (["0", "--fov", "5"], "--fov 5: give the horizontal field of view"),
        (["0", "--height", "40"], "--height 40: people are 50 to 260 cm tall"),
        (["0", "--export", "{}/poses.txt"], "poses.txt: unknown kind of pose file"),
        (["99"], "camera 99: cannot be opened (there is no such camera, or it is in use); check that it is plugged in"),
        (["tcp://127.0.0.1:9"], "tcp://127.0.0.1:9: cannot be opened (Connection refused); check the address"),
    ],
)
@pytest.mark.usefixtures("no_models")
def test_what_cannot_be_is_one_line(posecli, tmp_path, words, said):
    result = posecli("video", *(word.format(tmp_path) for word in words), "--out", tmp_path / "out.mp4")
    assert result.code == 1
    (line,) = result.err.splitlines()
    assert line.startswith("posecli: ")
    assert said in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_models")
def test_an_output_that_cannot_be_written_is_said_before_the_source_is_opened(posecli, tmp_path):
    result = posecli("video", "99", "--out", tmp_path / "missing" / "out.mp4")
    assert result.code == 1
    assert result.err.startswith(f"posecli: {tmp_path}/missing/out.mp4: there is no folder")

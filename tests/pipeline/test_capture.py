"""Live pictures: the newest is kept, the end is noticed, and what cannot be opened is said in one line."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline import capture
from pipeline.capture import Latest, check_source, is_live, live, source_name
from pipeline.errors import InputError
from tests.pipeline.clips import make_clip, number_of, numbered, quarters
from tests.pipeline.streams import RATE, moving, sender

SIZE = (64, 48)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    wait_until(lambda: not any(thread.name == "latest" for thread in threading.enumerate()))


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("waited for ten seconds")


# Names


@pytest.mark.parametrize("source", ["0", "12", "rtsp://host/1", "http://host:80/a.mjpg", "ftp://host/a"])
def test_cameras_and_addresses_are_live(source):
    assert is_live(source)


@pytest.mark.parametrize("source", ["in.mp4", "0.mp4", "./0", "-1", "C:/in.mp4", "tcp:in", "", "²", "٣"])
def test_files_are_not(source):
    assert not is_live(source)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("0", "camera 0"),
        ("007", "camera 7"),
        ("rtsp://me:secret@10.0.0.7:554/live?token=secret", "rtsp://10.0.0.7:554/live"),
        ("rtsp://me:se@cret@host/live", "rtsp://host/live"),
        ("udp://@239.0.0.1:1234", "udp://239.0.0.1:1234"),
    ],
)
def test_names_tell_no_passwords(source, name):
    assert source_name(source) == name


@pytest.mark.parametrize("source", ["ftp://host/a", "file:///etc/passwd", "RTSP://host/1", "concat://a|b", "://"])
def test_other_addresses_are_refused(source):
    with pytest.raises(InputError, match=r"no address of a stream, which starts with one of rtsp://, .*; give a file"):
        check_source(source)


# The newest picture


class Tap:
    """Pictures that come when they are let."""

    def __init__(self) -> None:
        self._waiting = threading.Semaphore(0)
        self._given = 0
        self.closed_in = ""
        self.error: Exception | None = None
        self.count = 10**9

    def pictures(self) -> Iterator[np.ndarray]:
        try:
            for index in range(10**9):
                self._waiting.acquire()
                if index >= self.count:
                    if self.error is not None:
                        raise self.error
                    return
                self._given = index + 1
                yield numbered(index % 25, SIZE)
        finally:
            self.closed_in = threading.current_thread().name

    def give(self, count: int, latest: Latest) -> None:
        """Let so many come, and wait until the last of them has arrived."""
        target = self._given + count
        for _ in range(count):
            self._waiting.release()
        wait_until(lambda: latest._newest is not None and latest._newest.index == target - 1)

    def end(self, error: Exception | None = None) -> None:
        self.count, self.error = self._given, error
        self._waiting.release()


def as_it_is(image: np.ndarray) -> np.ndarray:
    return image


@contextmanager
def tapped() -> Iterator[tuple[Tap, Latest]]:
    tap = Tap()
    with Latest(tap.pictures(), as_it_is) as latest:
        yield tap, latest
        tap._waiting.release()  # so that the thread sees that nobody wants any more


def test_the_newest_picture_is_taken_and_each_but_once():
    with tapped() as (tap, latest):
        tap.give(1, latest)
        first = latest.take(1.0)
        assert (first.index, first.time_s, number_of(first.image)) == (0, 0.0, 0)
        assert latest.take(0.01) is None
        tap.give(4, latest)
        fifth = latest.take(1.0)
        assert (fifth.index, number_of(fifth.image)) == (4, 4)
        assert fifth.time_s > 0.01
        tap.give(1, latest)
        assert latest.take(1.0).index == 5
        assert not latest.ended


def test_only_pictures_that_are_taken_are_developed():
    developed = []

    def develop(number: int) -> np.ndarray:
        developed.append(number)
        return numbered(number, SIZE)

    with Latest(range(20), develop) as latest:
        wait_until(lambda: latest._over)
        assert number_of(latest.take(1.0).image) == 19
    assert developed == [19]


def test_taking_waits_for_a_picture():
    with tapped() as (tap, latest):
        threading.Timer(0.1, tap._waiting.release).start()
        started = time.perf_counter()
        assert latest.take(5.0).index == 0
        assert 0.05 < time.perf_counter() - started < 3


def test_times_are_those_at_which_pictures_come():
    with tapped() as (tap, latest):
        tap.give(1, latest)
        latest.take(1.0)
        time.sleep(0.15)
        tap.give(1, latest)
        time.sleep(0.3)
        assert 0.14 < latest.take(1.0).time_s < 0.3  # not when it is taken


def test_the_end_comes_after_the_last_picture():
    with tapped() as (tap, latest):
        tap.give(3, latest)
        tap.end()
        wait_until(lambda: latest._over)
        assert not latest.ended
        assert latest.take(1.0).index == 2
        assert latest.ended
        started = time.perf_counter()
        assert latest.take(10.0) is None
        assert time.perf_counter() - started < 5


def test_an_error_comes_after_the_last_picture():
    with tapped() as (tap, latest):
        tap.give(1, latest)
        tap.end(ValueError("a bug"))
        wait_until(lambda: latest._over)
        assert latest.take(1.0).index == 0
        assert not latest.ended
        with pytest.raises(ValueError, match="a bug"):
            latest.take(1.0)
        assert latest.ended


def test_a_generator_is_closed_where_it_ran():
    with tapped() as (tap, latest):
        tap.give(1, latest)
    wait_until(lambda: tap.closed_in != "")
    assert tap.closed_in == "latest"


def test_a_source_that_hangs_does_not_hold_up_the_end(monkeypatch):
    monkeypatch.setattr(capture, "CLOSE_S", 0.2)
    tap = Tap()
    started = time.perf_counter()
    with Latest(tap.pictures(), as_it_is) as latest:
        tap.give(1, latest)
    assert 0.15 < time.perf_counter() - started < 2
    tap._waiting.release()


# Streams


def test_a_stream_over_tcp():
    with sender(frames=20, size=(160, 120)) as address, live(address) as (latest, first):
        assert first.image.shape == (120, 160, 3)
        frames = [first]
        while not latest.ended:
            frame = latest.take(1.0)
            frames += [] if frame is None else [frame]
    assert frames[-1].index == 19
    assert quarters(np.roll(frames[-1].image, -4 * 19, axis=1)) == quarters(moving(0, (160, 120)))
    assert [frame.index for frame in frames] == sorted({frame.index for frame in frames})


@pytest.fixture
def served(tmp_path) -> Iterator[str]:
    """The address of a web server that has in.mp4, a clip of 1.2 s, and text.mp4."""
    make_clip(tmp_path / "in.mp4", images=[numbered(i % 25, SIZE) for i in range(30)], faststart=True)
    (tmp_path / "text.mp4").write_text("no video\n" * 100)

    class Files(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = tmp_path / Path(self.path.partition("?")[0]).name
            data = path.read_bytes() if path.exists() else b""
            self.send_response(200 if data else 404)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_clip_on_a_server_is_read_at_its_own_pace(served):
    with live(f"{served}/in.mp4") as (latest, _):
        newest = None
        while not latest.ended:
            newest = latest.take(1.0) or newest
    assert newest.index == 29
    assert 0.8 * 29 / RATE < newest.time_s < 29 / RATE + 2


@pytest.mark.parametrize(
    ("path", "reason"), [("none.mp4", "404 Not Found"), ("text.mp4", "Invalid data found when processing input")]
)
def test_an_address_without_a_video(served, path, reason):
    with pytest.raises(InputError) as caught, live(f"{served}/{path}?token=secret"):
        pass
    assert str(caught.value).startswith(f"{served}/{path}: cannot be opened (")
    assert reason in str(caught.value)
    assert str(caught.value).endswith("; check the address, and that it is sending")


def test_nobody_at_the_address():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(InputError) as caught, live(f"tcp://127.0.0.1:{port}"):
        pass
    assert str(caught.value).startswith(f"tcp://127.0.0.1:{port}: cannot be opened (Connection refused); check the")


@pytest.mark.parametrize("scheme", ["tcp", "http", "rtsp", "rtmp", "udp"])
def test_one_who_does_not_answer(monkeypatch, scheme):
    monkeypatch.setattr(capture, "SILENT_S", 0.5)
    kind = socket.SOCK_DGRAM if scheme == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as server:
        server.bind(("127.0.0.1", 0))
        address = f"{scheme}://127.0.0.1:{server.getsockname()[1]}"
        if scheme == "udp":
            server.close()  # ours to listen at
        else:
            server.listen()
        started = time.perf_counter()
        with pytest.raises(InputError) as caught, live(address):
            pass
        assert time.perf_counter() - started < 5
    assert str(caught.value) == (
        f"{address}: cannot be opened (no answer in 0.5 s); check the address, and that it is sending"
    )


def test_a_stream_that_ends_before_its_first_picture():
    with sender(frames=0) as address, pytest.raises(InputError, match=r"^tcp://127\.0\.0\.1:\d+: "), live(address):
        pass


def test_a_stream_that_falls_silent_ends(monkeypatch):
    monkeypatch.setattr(capture, "SILENT_S", 1.0)
    hang = threading.Event()
    with sender(frames=50, hang=hang) as address:
        with live(address) as (latest, _):
            started = time.perf_counter()
            wait_until(lambda: latest.take(0.1) is None and latest.ended)
            assert time.perf_counter() - started > 0.9
        hang.set()


# Cameras


class FakeCamera:
    """cv2.VideoCapture of a camera that is unplugged after some pictures."""

    pictures = 5
    released = 0

    def __init__(self, number: int, *_: int) -> None:
        self._number, self._index = number, -1

    def isOpened(self) -> bool:  # noqa: N802
        return self._number == 0

    def read(self) -> tuple[bool, np.ndarray | None]:
        time.sleep(0.01)
        self._index += 1
        there = self._index < self.pictures
        return there, numbered(self._index, SIZE) if there else None

    def release(self) -> None:
        type(self).released += 1


def test_a_camera_until_it_is_unplugged(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera)
    FakeCamera.released = 0
    with live("0") as (latest, first):
        assert first.image.shape == (48, 64, 3)
        newest = first
        while not latest.ended:
            newest = latest.take(1.0) or newest
    assert (newest.index, number_of(newest.image)) == (4, 4)
    assert FakeCamera.released == 1


def test_a_camera_that_gives_nothing(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera)
    monkeypatch.setattr(FakeCamera, "pictures", 0)
    with pytest.raises(InputError) as caught, live("0"):
        pass
    assert str(caught.value).startswith("camera 0: ended before its first picture; check that it is plugged in")


def test_no_such_camera(capfd):
    with pytest.raises(InputError) as caught, live("99"):
        pass
    assert str(caught.value).startswith("camera 99: cannot be opened (there is no such camera, or it is in use); check")
    assert capfd.readouterr() == ("", "")  # OpenCV keeps its remarks to itself

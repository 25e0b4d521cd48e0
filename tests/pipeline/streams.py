"""A sender of live video on this machine, for tests: MPEG-TS over TCP, frame by frame at its pace."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from threading import Event, Thread

import av
import numpy as np

from tests.pipeline.clips import picture

RATE = 25
PATIENCE_S = 60.0  # for someone who connects; then the sender gives up


def moving(index: int, size: tuple[int, int]) -> np.ndarray:
    """Four quarters of colour that move across, (H, W, 3) uint8 BGR."""
    return np.roll(picture(size), 4 * index, axis=1)


class _Line:
    """A connection as a file to write to."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.broken = False  # the other side has had enough; what is written then is lost

    def write(self, data: bytes) -> int:
        try:
            if not self.broken:
                self._connection.sendall(data)
        except OSError:
            self.broken = True
        return len(data)


@contextmanager
def sender(*, frames: int, size: tuple[int, int] = (160, 120), hang: Event | None = None) -> Iterator[str]:
    """The address of a stream of so many frames, for one who connects. With `hang`, the line stays open, but silent,
    from then on until that is set.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE_S)
        thread = Thread(target=_serve, args=(server, frames, size, hang), name="sender", daemon=True)
        thread.start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def _serve(server: socket.socket, frames: int, size: tuple[int, int], hang: Event | None) -> None:
    try:
        connection, _ = server.accept()
    except OSError:  # nobody came, and the server was closed
        return
    with connection:
        _send(_Line(connection), frames, size)
        if hang is not None:
            hang.wait(PATIENCE_S)


def _send(line: _Line, frames: int, size: tuple[int, int]) -> None:
    options = {"preset": "ultrafast", "tune": "zerolatency", "g": "10"}
    with av.open(line, "w", format="mpegts", container_options={"flush_packets": "1"}) as output:
        stream = output.add_stream("libx264", rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        started = time.perf_counter()
        for index in range(frames):
            if line.broken:
                break
            time.sleep(max(0.0, started + index / RATE - time.perf_counter()))
            frame = av.VideoFrame.from_ndarray(moving(index, size), "bgr24").reformat(format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))

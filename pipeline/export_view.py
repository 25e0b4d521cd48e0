"""The poses of a clip as one web page: the clip with its 2D skeleton, the 3D skeleton to walk around, joint angles.

The page is whole in itself: it loads nothing, from the network or elsewhere, and its content security policy forbids
it to. pipeline/view.html is the page without a clip; its marks are filled with

    the policy   hashes of the page's own script and style: no other script or style runs, wherever it may come from
    the poses    JSON, times in seconds since the first frame, pixels to 0.1, mm to 1, degrees to 0.1
    the clip     its frames as H.264, MOST_PIXELS on the longer side, without sound, in base64; nothing without a clip

Each frame of the page's clip is shown at its own time, so that the page knows by the time which frame it shows.
Ten seconds of a usual clip take 0.5 to 2 MB, and the poses of a person 0.2 MB.
"""

import base64
import hashlib
import json
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.angles import ANGLES, joint_angles
from pipeline.atomic import cannot_write, replacing
from pipeline.errors import InputError
from pipeline.people import ClipPoses, Person
from pipeline.render import RenderOptions
from pipeline.skeleton import H36M17, Skeleton
from pipeline.video import Frame, VideoInfo, VideoWriter

MOST_PIXELS = 960  # on the longer side of the page's clip
# x264: smaller than for a video to keep, at most 1.6 Mbit/s, and a key frame every second or so, for quick seeking.
QUALITY = {"crf": "26", "preset": "medium", "maxrate": "1600k", "bufsize": "3200k", "g": "30"}
PIECE = 3 << 18  # bytes of the clip that are put into the page at once; of three bytes base64 makes four characters
MARKS = ("@POLICY@", "@POSES@", "@CLIP@")  # each stands in view.html once, in this order


@dataclass(frozen=True)
class Footage:
    """The pixels of a clip: what it says about itself, and its frames, as many as the poses are for; read once."""

    info: VideoInfo
    frames: Iterable[Frame]


def write(path: Path, clip: ClipPoses, footage: Footage | None = None) -> tuple[Path, ...]:
    """Write the page, without a video if there is no footage, and return its path.

    Raises OutputError if it cannot be written, InputError if the footage has fewer frames than the clip, and what its
    frames raise.
    """
    head, before, between, after = _template()
    policy = _policy(head + before + between + after)
    poses = _script_text({**_clip_json(clip), "video": footage is not None})
    with tempfile.TemporaryDirectory() as folder, replacing(path) as temporary:
        video = None if footage is None else _encode(Path(folder) / "clip.mp4", clip, footage)
        try:
            with temporary.open("wb") as page:
                page.write((head + policy + before + poses + between).encode())
                page.writelines(() if video is None else _base64(video))
                page.write(after.encode())
        except OSError as error:
            raise cannot_write(path, error) from error
    return (path,)


# The page


def _template() -> list[str]:
    """The text of view.html around its marks."""
    text = files("pipeline").joinpath("view.html").read_text("utf-8")
    parts = re.split("|".join(MARKS), text)
    if re.findall("|".join(MARKS), text) != list(MARKS):
        raise ValueError(f"view.html must hold {', '.join(MARKS)} once each, in this order")
    return parts


def _policy(page: str) -> str:
    """The content security policy: only the script and the style that stand in the page, and a clip of its own."""
    script, style = (re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL) for tag in ("script", "style"))
    rules = [f"script-src {_hashes(script)}", f"style-src {_hashes(style)}", "media-src blob:", "base-uri 'none'"]
    return "; ".join(["default-src 'none'", *rules, "form-action 'none'"])


def _hashes(texts: Iterable[str]) -> str:
    digests = (hashlib.sha256(text.encode()).digest() for text in texts)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)


def _script_text(content: dict[str, Any]) -> str:
    """JSON in ASCII that can stand in a script element: no character in it means anything to HTML."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


# The poses


def _clip_json(clip: ClipPoses) -> dict[str, Any]:
    return {
        "source": clip.source.encode("utf-8", "replace").decode(),
        "size": list(clip.size),
        "fps": round(clip.fps, 3),
        "times": _rounded(clip.times - clip.times[0], 6),
        "start": round(float(clip.times[0]), 6),
        "minScore": RenderOptions.min_score,
        "skeleton": _skeleton_json(H36M17),
        "angles": [{"name": angle.name, "side": angle.side} for angle in ANGLES],
        "people": [_person_json(person) for person in clip.people],
    }


def _skeleton_json(skeleton: Skeleton) -> dict[str, Any]:
    bones = [list(edge) for edge in skeleton.edges]
    return {"joints": list(skeleton.joints), "sides": list(skeleton.sides), "bones": bones}


def _person_json(person: Person) -> dict[str, Any]:
    """A person, row for row; the coordinates of a row in one list, joint by joint."""
    return {
        "id": person.id,
        "skeleton": _skeleton_json(person.skeleton2d),
        "frame": person.frame.tolist(),
        "xy": _rounded(person.xy.reshape(len(person), -1), 1),
        "score": _rounded(person.score, 2),
        "world": np.rint(person.world.reshape(len(person), -1)).astype(int).tolist(),
        "angles": _rounded(joint_angles(person.world).T, 1),
    }


def _rounded(array: np.ndarray, decimals: int) -> list[Any]:
    values: list[Any] = (np.round(array.astype(np.float64), decimals) + 0.0).tolist()
    return values


# The clip


def _encode(path: Path, clip: ClipPoses, footage: Footage) -> Path:
    """Write the clip small, its first frame at time 0, and return its path."""
    size = _small(clip.size)
    written = 0
    with VideoWriter(path, size, info=footage.info, quality=QUALITY) as writer:
        for frame, time_s in zip(footage.frames, (clip.times - clip.times[0]).tolist(), strict=False):
            writer.write(cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA), replace(frame, time_s=time_s))
            written += 1
        if written < clip.frames:
            raise InputError(f"{clip.source}: has {written} frames, but poses for {clip.frames}; give the whole clip")
    return path


def _small(size: tuple[int, int]) -> tuple[int, int]:
    """Width and height of the page's clip: even, so that the encoder adds no border, and no larger than need be."""
    scale = min(MOST_PIXELS / max(size), 1)
    width, height = (max(2 * round(side * scale / 2), 2) for side in size)
    return width, height


def _base64(path: Path) -> Iterator[bytes]:
    """The content of a file in base64, piece by piece: however long the clip is, memory holds one."""
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield base64.b64encode(piece)

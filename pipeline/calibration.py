"""Calibrations of several cameras that see the same place: Pose2Sim's .toml, and Qualisys' .qca.txt.

World axes are those of the calibration; lengths mm. In pixels an integer is a pixel's centre, as in OpenCV, whose lens
model this is (Brown 1971): radial k1, k2, k3 and tangential p1, p2.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np

from pipeline.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SAME_SIZE = 0.02  # encoders pad and cut frames to a multiple of 16 pixels: no other camera for that
LARGEST_FILE = 1 << 20  # bytes; a calibration has a few thousand


@dataclass(frozen=True)
class View:
    """One calibrated camera: camera = rotation @ world + translation.

    name         of the camera, unlike the others
    size         (width, height) of its frames, pixels
    matrix       (3, 3) intrinsics, pixels
    distortion   (5,) k1, k2, p1, p2, k3
    rotation     (3, 3) from world to camera axes: x right, y down, z away from the camera
    translation  (3,) mm
    """

    name: str
    size: tuple[int, int]
    matrix: np.ndarray
    distortion: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray

    def __post_init__(self) -> None:
        numbers = [self.matrix.ravel(), self.distortion, self.rotation.ravel(), self.translation]
        if not np.isfinite(np.concatenate(numbers)).all() or min(self.size) < 1:
            raise ValueError(f"camera {self.name} has numbers that are not finite, or no size")
        if not (self.matrix[0, 0] > 0 and self.matrix[1, 1] > 0):
            raise ValueError(f"camera {self.name} has no focal length")
        turned = np.abs(self.rotation @ self.rotation.T - np.eye(3)).max()
        if turned > 1e-3 or np.linalg.det(self.rotation) < 0:
            raise ValueError(f"camera {self.name}: its rotation is none")

    def rays(self, xy: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) as points (..., 2) on the camera's plane z = 1, without the lens' distortion; NaN stay."""
        flat = np.asarray(xy, np.float64).reshape(-1, 1, 2)
        known = np.isfinite(flat).all((1, 2))
        rays = np.full(flat.shape, np.nan)
        if known.any():
            rays[known] = cv2.undistortPoints(flat[known], self.matrix, self.distortion)
        return rays.reshape(xy.shape)

    def to_camera(self, world: np.ndarray) -> np.ndarray:
        """World points (..., 3) in camera axes, mm."""
        return world @ self.rotation.T + self.translation

    def project(self, world: np.ndarray) -> np.ndarray:
        """World points (..., 3) in pixels (..., 2), with the lens' distortion; NaN stay."""
        seen = self.to_camera(world).reshape(-1, 3)
        known = np.isfinite(seen).all(-1)
        pixels = np.full((len(seen), 2), np.nan)
        if known.any():
            zero = np.zeros(3)
            pixels[known] = cv2.projectPoints(seen[known], zero, zero, self.matrix, self.distortion)[0][:, 0]
        return pixels.reshape(*world.shape[:-1], 2)

    def fitted(self, size: tuple[int, int]) -> "View":
        """The camera for frames of another (width, height): scaled, or but for a few pixels at the edge the same.

        ValueError if the frames have another shape.
        """
        across, down = np.divide(size, self.size)
        if max(abs(across - 1), abs(down - 1)) <= SAME_SIZE:
            return self
        if abs(across / down - 1) > SAME_SIZE:
            raise ValueError(f"camera {self.name} was calibrated with frames of {self.size}, these are {size}")
        scale = np.diag([across, down, 1.0])
        half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # from pixel centres to corners
        return replace(self, size=size, matrix=np.linalg.inv(half) @ scale @ half @ self.matrix)


def read_calibration(path: Path) -> tuple[View, ...]:
    """The cameras of a file, in its order; InputError if it cannot be read or is no calibration."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its name and permissions") from error
    try:
        if len(data) > LARGEST_FILE:
            raise ValueError(f"more than {LARGEST_FILE:,} bytes are too many for one")
        text = data.decode()
        views = _qualisys(text) if text.lstrip().startswith("<") else _pose2sim(tomllib.loads(text))
        if not views:
            raise ValueError("it has no camera")
        if len({view.name for view in views}) < len(views):
            raise ValueError("two cameras have one name")
    except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError, SyntaxError, cv2.error) as error:
        said = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path}: not a calibration, Pose2Sim's .toml or Qualisys' .qca.txt: {said}") from error
    return views


def _pose2sim(content: Mapping[str, Any]) -> tuple[View, ...]:
    """Cameras are tables with size, matrix, distortions, rotation (Rodrigues' vector) and translation in metres."""
    views = []
    for key, camera in content.items():
        if key == "metadata" or not isinstance(camera, dict):
            continue
        if camera.get("fisheye"):
            raise ValueError(f"camera {key} has a fisheye lens, which is not supported")
        lens = np.array(camera["distortions"], np.float64).ravel()
        if len(lens) not in (4, 5):
            raise ValueError(f"camera {key} has {len(lens)} distortions, not 4 or 5")
        width, height = (round(side) for side in camera["size"])
        turn = cv2.Rodrigues(np.array(camera["rotation"], np.float64).reshape(3))[0]
        views.append(
            View(
                str(camera.get("name", key)),
                (width, height),
                np.array(camera["matrix"], np.float64).reshape(3, 3),
                np.pad(lens, (0, 5 - len(lens))),
                turn,
                1000 * np.array(camera["translation"], np.float64).reshape(3),
            )
        )
    return tuple(views)


def _qualisys(text: str) -> tuple[View, ...]:
    """Cameras are elements with intrinsics in 1/64 pixel and a transform: the place (x, y, z), mm, and the rotation
    from world axes to a camera that looks along -z, y up.
    """
    if "<!" in text:  # neither needed nor safe
        raise ValueError("it declares a document type or entities")
    return tuple(_qualisys_camera(camera) for camera in ElementTree.fromstring(text).iter("camera"))


def _qualisys_camera(camera: ElementTree.Element) -> View:
    name = camera.attrib["serial"]
    if float(camera.get("viewrotation", "0")) != 0:
        raise ValueError(f"camera {name} has a turned view, which is not supported; calibrate with upright frames")

    def numbers(element: str, *keys: str) -> np.ndarray:
        found = camera.find(element)
        if found is None:
            raise KeyError(element)
        return np.array([float(found.attrib[key]) for key in keys])

    left, top, right, bottom = numbers("fov_video", "left", "top", "right", "bottom")
    fx, fy, cx, cy = numbers("intrinsic", "focalLengthU", "focalLengthV", "centerPointU", "centerPointV") / 64
    radial = [f"radialDistortion{number}" for number in (1, 2, 3)]
    k1, k2, k3, p1, p2 = numbers("intrinsic", *radial, "tangentalDistortion1", "tangentalDistortion2")
    rotation = numbers("transform", *(f"r{row}{column}" for row in (1, 2, 3) for column in (1, 2, 3))).reshape(3, 3)
    rotation = np.diag([1.0, -1, -1]) @ rotation
    return View(
        name,
        (round(right - left) + 1, round(bottom - top) + 1),
        np.array([[fx, 0, cx - left], [0, fy, cy - top], [0, 0, 1]]),
        np.array([k1, k2, p1, p2, k3]),
        rotation,
        -rotation @ numbers("transform", "x", "y", "z"),
    )

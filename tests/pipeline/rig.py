"""Synthetic calibrated cameras around the origin, and their calibration files in both formats."""

from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np

from pipeline.calibration import View

SIZE = (640, 480)
LENS = np.array([-0.05, 0.02, 0.001, -0.0005, 0.0])


def camera(turn: float, *, distance: float = 4000.0, height: float = 1600.0, lens: np.ndarray = LENS) -> View:
    """A camera `turn` degrees around the origin, at a height, that looks at a point 900 mm above it. World: z up."""
    angle = np.radians(turn)
    eye = np.array([distance * np.sin(angle), -distance * np.cos(angle), height])
    forward = np.array([0.0, 0.0, 900.0]) - eye
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    matrix = np.array([[600.0, 0, 322], [0, 602.0, 238], [0, 0, 1]])
    return View(f"cam{turn:.0f}", SIZE, matrix, lens, rotation, -rotation @ eye)


def ring(count: int = 4) -> list[View]:
    """Cameras evenly around the origin, but none across from another."""
    return [camera(20 + 360 * index / (count + 0.5)) for index in range(count)]


def write_toml(path: Path, views: list[View]) -> Path:
    """As Pose2Sim does, translations in metres."""
    lines = []
    for index, view in enumerate(views):
        lines += [
            f"[cam_{index}]",
            f'name = "{view.name}"',
            f"size = {[float(side) for side in view.size]}",
            f"matrix = {view.matrix.tolist()}",
            f"distortions = {view.distortion[:4].tolist()}",
            f"rotation = {cv2.Rodrigues(view.rotation)[0].ravel().tolist()}",
            f"translation = {(view.translation / 1000).tolist()}",
            "fisheye = false",
        ]
    path.write_text("\n".join([*lines, "[metadata]", "adjusted = false", "error = 0.0"]))
    return path


def write_qualisys(path: Path, views: list[View]) -> Path:
    """As Qualisys does: intrinsics in 1/64 pixel, the camera's place, axes x right, y up, z backwards."""
    root = ElementTree.Element("calibration")
    cameras = ElementTree.SubElement(root, "cameras")
    for view in views:
        one = ElementTree.SubElement(cameras, "camera", serial=view.name, viewrotation="0")
        right, bottom = view.size[0] - 1, view.size[1] - 1
        ElementTree.SubElement(one, "fov_video", left="0", top="0", right=str(right), bottom=str(bottom))
        turned = view.rotation * np.array([[1], [-1], [-1]])
        place = -view.rotation.T @ view.translation
        entries = {f"r{i + 1}{j + 1}": str(turned[i, j]) for i in range(3) for j in range(3)}
        entries |= dict(zip("xyz", map(str, place), strict=True))
        ElementTree.SubElement(one, "transform", entries)
        k1, k2, p1, p2, k3 = view.distortion
        inner = {
            "focalLengthU": 64 * view.matrix[0, 0],
            "focalLengthV": 64 * view.matrix[1, 1],
            "centerPointU": 64 * view.matrix[0, 2],
            "centerPointV": 64 * view.matrix[1, 2],
            "radialDistortion1": k1,
            "radialDistortion2": k2,
            "radialDistortion3": k3,
            "tangentalDistortion1": p1,
            "tangentalDistortion2": p2,
        }
        ElementTree.SubElement(one, "intrinsic", {key: str(value) for key, value in inner.items()})
    ElementTree.ElementTree(root).write(path)
    return path

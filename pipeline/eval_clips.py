"""How good the whole program is: clips with exact 2D and 3D truth, run as a user would run them."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hourglass.metrics import PCK_AT, correct, torso_length
from lifter.metrics import mpjpe, pa_mpjpe
from pipeline.errors import DataError
from pipeline.run import Models, Poses, find_poses
from pipeline.skeleton import LIMB_JOINTS, Skeleton


@dataclass(frozen=True)
class ClipTruth:
    """Truth of one clip for the 12 limb joints: pixels (T, 12, 2), camera axes mm (T, 12, 3), in the frame (T, 12)."""

    xy: np.ndarray
    xyz: np.ndarray
    inside: np.ndarray


@dataclass(frozen=True)
class ClipScores:
    """Figures of one clip. PCK counts every joint in the frame, a frame without a found person as missed; the 3D
    errors are over the frames with one, relative to the middle of the hips.
    """

    frames: int
    found: int  # frames with a person
    pck: float  # percent, within 0.2 of the torso's diagonal
    mpjpe_mm: float
    pa_mpjpe_mm: float


def read_truth(path: Path) -> ClipTruth:
    """Read NAME_gt.json: joints (names), frames [{uv, xyz_cam_mm, inside}]; DataError if it is not in that layout."""
    try:
        content = json.loads(path.read_text())
        rows = [content["joints"].index(joint) for joint in LIMB_JOINTS]
        xy, xyz, inside = (
            np.array([frame[key] for frame in content["frames"]]) for key in ("uv", "xyz_cam_mm", "inside")
        )
        return ClipTruth(xy[:, rows].astype(float), xyz[:, rows].astype(float), inside[:, rows].astype(bool))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(f"{path}: not a truth file (joints, frames with uv, xyz_cam_mm, inside): {error}") from error


def _limbs(points: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    return points[:, skeleton.indices(LIMB_JOINTS)]


def _rooted(xyz: np.ndarray) -> np.ndarray:
    """Limb joints (T, 12, 3) relative to the middle of the hips."""
    hips = [LIMB_JOINTS.index("l_hip"), LIMB_JOINTS.index("r_hip")]
    return xyz - xyz[:, hips].mean(1, keepdims=True)


def score_clip(poses: Poses, truth: ClipTruth) -> ClipScores:
    """Figures of a clip; DataError if the truth is of another number of frames."""
    if len(truth.xy) != poses.frames:
        raise DataError(f"the truth has {len(truth.xy)} frames, the clip {poses.frames}")
    limbs = Skeleton("limbs", LIMB_JOINTS, (-1,) * len(LIMB_JOINTS))
    found = poses.track.frame
    predicted = np.full(truth.xy.shape, np.nan)
    predicted[found] = _limbs(poses.track.xy, poses.track.skeleton)
    length = torso_length(truth.xy, np.ones(truth.xy.shape[:2], bool), limbs)
    hits = correct(predicted, truth.xy, length, threshold=PCK_AT)
    pck = 100 * float(hits[truth.inside].mean()) if truth.inside.any() else float("nan")
    if not len(found):
        return ClipScores(poses.frames, 0, pck, float("nan"), float("nan"))
    lifted, true = _rooted(_limbs(poses.lifted.xyz, poses.lifted.skeleton)), _rooted(truth.xyz[found])
    return ClipScores(poses.frames, len(found), pck, mpjpe(lifted, true), pa_mpjpe(lifted, true))


def evaluate_clips(folder: Path, models: Models) -> dict[str, Any]:
    """Figures for every NAME.mp4 with NAME_gt.json in a folder: {'clips': {NAME: {...}}, 'mean': {...}}.

    The mean is over clips, every clip counting the same. DataError if there is no such clip.
    """
    names = sorted(path.name.removesuffix("_gt.json") for path in folder.glob("*_gt.json"))
    if not names:
        raise DataError(f"{folder}: no NAME.mp4 with NAME_gt.json in it")
    clips = {}
    for name in names:
        truth = read_truth(folder / f"{name}_gt.json")
        try:
            clips[name] = asdict(score_clip(find_poses(folder / f"{name}.mp4", models), truth))
        except DataError as error:
            raise DataError(f"{folder / name}_gt.json: {error}") from error
    keys = next(iter(clips.values()))
    mean = {key: float(np.nanmean([scores[key] for scores in clips.values()])) for key in keys}
    return {"clips": clips, "mean": mean}


def table(result: dict[str, Any]) -> str:
    """The figures as text, a line per clip."""
    lines = [f"{'clip':<24}{'frames':>8}{'found':>8}{'PCK@0.2 %':>11}{'MPJPE mm':>10}{'PA-MPJPE mm':>13}"]
    for name, s in [*result["clips"].items(), ("mean", result["mean"])]:
        lines.append(
            f"{name:<24}{s['frames']:>8.0f}{s['found']:>8.0f}{s['pck']:>11.1f}{s['mpjpe_mm']:>10.1f}{s['pa_mpjpe_mm']:>13.1f}"
        )
    return "\n".join(lines)

"""How good the whole program is: clips with exact 2D and 3D truth, run as a user would run them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from hourglass.metrics import PCK_AT, correct, torso_length
from lifter.metrics import mpjpe, pa_mpjpe
from lifter.predict import Lifter
from pipeline.errors import DataError
from pipeline.json_text import parse_json
from pipeline.limits import check_files
from pipeline.run import Models, Poses, Scene, Wishes, as_one, camera_of, find_poses, lift_track, place_people
from pipeline.skeleton import LIMB_JOINTS, Skeleton
from pipeline.trajectory import skating

CONTACT_MM_S = 200.0  # a true ankle that is slower stands on its foot
HIPS = [LIMB_JOINTS.index("l_hip"), LIMB_JOINTS.index("r_hip")]
ANKLES = [LIMB_JOINTS.index("l_ankle"), LIMB_JOINTS.index("r_ankle")]
NAN = float("nan")


@dataclass(frozen=True)
class ClipTruth:
    """Truth of one clip for the 12 limb joints.

    xy        (T, 12, 2)   pixels
    xyz       (T, 12, 3)   mm, camera axes: x right, y down, z away from the camera
    inside    (T, 12)      whether the joint is within the frame
    focal_px  the camera's focal length, pixels; NaN if the file has no K
    to_world  (T, 4, 4)    from camera axes to world axes, mm: x and y along the ground, z up; NaN without E. Tells how
                           the camera moves.
    """

    xy: np.ndarray
    xyz: np.ndarray
    inside: np.ndarray
    focal_px: float
    to_world: np.ndarray

    @property
    def world(self) -> np.ndarray:
        """Joints (T, 12, 3), mm, in world axes."""
        return np.einsum("tij,tnj->tni", self.to_world[:, :3, :3], self.xyz) + self.to_world[:, None, :3, 3]


@dataclass(frozen=True)
class ClipScores:
    """Figures of one clip, all over the 12 limb joints. Root: the middle of the hips.

    PCK counts every joint in the frame, a frame without a found person as missed; all others are over the frames with
    a person, and NaN where there is none. Those from `mpjpe_true_focal_mm` on come of lifting and placing the same 2D
    with the true focal length, and are NaN where the truth file has no K; skating and acceleration in the world are
    NaN without E too, and where no foot stands or no three frames follow one another.

    frames                  in the clip
    found                   frames with a person
    pck                     percent of joints within 0.2 of the torso's diagonal
    mpjpe_mm                mean distance of joints, both poses relative to their roots; the program's own focal length
    pa_mpjpe_mm             the same after the best similarity of every frame
    mpjpe_true_focal_mm     as mpjpe_mm with the true focal length
    pa_mpjpe_true_focal_mm  as pa_mpjpe_mm with the true focal length
    root_mm                 mean distance of the root, as it is handed over (on the floor), from the true one, in the
                            camera axes of each frame
    root_scaled_mm          the same after one scale for the clip, about the camera, that is best by least squares: a
                            single camera does not tell size
    skate_mm_s              mean horizontal speed of our ankles in our world, over the steps between frames in both of
                            which the true foot is in contact: in the frame's steps to the frames before and after it
                            the true ankle is slower than `CONTACT_MM_S` in the true world
    skate_true_mm_s         the same of the true ankles in the true world: what a perfect answer would get
    accel_mm_s2             mean of |a_pred - a_true|, a = (x[t - 1] - 2 x[t] + x[t + 1]) / dt^2 of limbs relative to
                            the root, in camera axes (Kocabas et al. 2020, VIBE, there per frame^2)
    accel_world_mm_s2       the same of limbs with the motion of the root, of us in our world and of the truth in the
                            true one, both in the axes that the camera has in the first frame
    """

    frames: int
    found: int
    pck: float
    mpjpe_mm: float = NAN
    pa_mpjpe_mm: float = NAN
    mpjpe_true_focal_mm: float = NAN
    pa_mpjpe_true_focal_mm: float = NAN
    root_mm: float = NAN
    root_scaled_mm: float = NAN
    skate_mm_s: float = NAN
    skate_true_mm_s: float = NAN
    accel_mm_s2: float = NAN
    accel_world_mm_s2: float = NAN


# The truth


def read_truth(path: Path) -> ClipTruth:
    """Read NAME_gt.json: joints (names), frames [{uv, xyz_cam_mm, inside, E}], K; DataError if not in that layout.

    K (3, 3) and E may be lacking. E (4, 4) takes world points in metres, y up and the floor at y = 0, to a camera whose
    axes are x right, y up, z backwards, as in OpenGL; xyz_cam_mm has x right, y down, z forwards.
    """
    check_files([path], named=path)
    try:
        content = parse_json(path.read_text())
        rows = [content["joints"].index(joint) for joint in LIMB_JOINTS]
        frames = content["frames"]
        xy, xyz, inside = (np.array([frame[key] for frame in frames]) for key in ("uv", "xyz_cam_mm", "inside"))
        focal = float(np.array(content["K"], float).reshape(3, 3)[0, 0]) if "K" in content else NAN
        known = bool(frames) and all("E" in frame for frame in frames)
        views = np.array([frame["E"] for frame in frames], float) if known else np.full((len(frames), 4, 4), NAN)
        to_world = _to_world(views.reshape(len(frames), 4, 4))
        return ClipTruth(
            xy[:, rows].astype(float), xyz[:, rows].astype(float), inside[:, rows].astype(bool), focal, to_world
        )
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise DataError(f"{path}: not a truth file (joints, frames with uv, xyz_cam_mm, inside): {error}") from error


def _to_world(views: np.ndarray) -> np.ndarray:
    """`ClipTruth.to_world` of matrices E (T, 4, 4)."""
    upright = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # from y up to z up
    rotation = upright @ np.swapaxes(views[:, :3, :3], 1, 2)
    matrices = np.tile(np.eye(4), (len(views), 1, 1))
    matrices[:, :3, :3] = rotation * (1, -1, -1)
    matrices[:, :3, 3] = -1000 * np.einsum("tij,tj->ti", rotation, views[:, :3, 3])
    return matrices


# Figures


def score_clip(poses: Poses, truth: ClipTruth, lifter: Lifter) -> ClipScores:
    """Figures of a clip, whose person was lifted by `lifter`; DataError if the truth is of another number of frames."""
    if len(truth.xy) != poses.frames:
        raise DataError(f"the truth has {len(truth.xy)} frames, the clip {poses.frames}")
    limbs = Skeleton("limbs", LIMB_JOINTS, (-1,) * len(LIMB_JOINTS))
    found = poses.track.frame
    predicted = np.full(truth.xy.shape, NAN)
    predicted[found] = limb_joints(poses.track.xy, poses.track.skeleton)
    length = torso_length(truth.xy, np.ones(truth.xy.shape[:2], bool), limbs)
    hits = correct(predicted, truth.xy, length, threshold=PCK_AT)
    pck = 100 * float(hits[truth.inside].mean()) if truth.inside.any() else NAN
    scores = ClipScores(poses.frames, len(found), pck)
    if not len(found):
        return scores
    guessed, pa_guessed = _pose_errors(poses, truth)
    scores = replace(scores, mpjpe_mm=guessed, pa_mpjpe_mm=pa_guessed)
    if not np.isfinite(truth.focal_px):
        return scores
    exact = lifted_again(poses, truth.focal_px, lifter)
    known, pa_known = _pose_errors(exact, truth)
    scores = replace(scores, mpjpe_true_focal_mm=known, pa_mpjpe_true_focal_mm=pa_known)
    return replace(scores, **_motion_errors(exact, truth))


def lifted_again(poses: Poses, focal_px: float, lifter: Lifter) -> Poses:
    """The same 2D lifted with another focal length, pixels."""
    clip = replace(poses.clip, focal_px=focal_px, focal_origin="--fov")
    return replace(poses, clip=clip, lifted=lift_track(poses.track, lifter, camera_of(clip), wishes=Wishes()))


def limb_joints(points: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """The 12 limb joints (T, 12, ...) of points (T, J, ...) of a skeleton."""
    return points[:, skeleton.indices(LIMB_JOINTS)]


def _root(limbs: np.ndarray) -> np.ndarray:
    """The middle of the hips (T, 3) of limb joints (T, 12, 3)."""
    return limbs[:, HIPS].mean(1)


def rooted(limbs: np.ndarray) -> np.ndarray:
    """Limb joints (T, 12, 3) relative to the middle of the hips."""
    return limbs - _root(limbs)[:, None]


def _pose_errors(poses: Poses, truth: ClipTruth) -> tuple[float, float]:
    """MPJPE and PA-MPJPE, mm."""
    lifted = rooted(limb_joints(poses.lifted.xyz, poses.lifted.skeleton))
    true = rooted(truth.xyz[poses.track.frame])
    return mpjpe(lifted, true), pa_mpjpe(lifted, true)


def _motion_errors(poses: Poses, truth: ClipTruth) -> dict[str, Any]:
    """The figures of `ClipScores` about motion, by name."""
    frame, times = poses.track.frame, poses.clip.times
    scene: Scene = place_people([poses], wishes=Wishes())
    world = limb_joints(scene.worlds[0], poses.lifted.skeleton)
    ours, true = scene.ground.to_camera(world), truth.xyz[frame]
    root, root_true = _root(ours), _root(true)
    scale = float((root * root_true).sum() / (root * root).sum())
    contact = in_contact(truth.world[:, ANKLES], times)
    feet = np.full((len(times), len(ANKLES), 3), NAN)
    feet[frame] = world[:, ANKLES]
    first = truth.to_world[frame[0], :3, :3]  # row vectors: points @ first goes from world to camera axes
    return {
        "root_mm": _distance(root, root_true),
        "root_scaled_mm": _distance(scale * root, root_true),
        "skate_mm_s": skating(feet, times, contact),
        "skate_true_mm_s": skating(truth.world[:, ANKLES], times, contact),
        "accel_mm_s2": acceleration_error(
            rooted(limb_joints(poses.lifted.xyz, poses.lifted.skeleton)), rooted(true), frame, times
        ),
        "accel_world_mm_s2": acceleration_error(ours, (truth.world @ first)[frame], frame, times),
    }


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b, axis=-1).mean())


def in_contact(ankles: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Which true ankles (T, K, 3), mm, world, at times (T,), s, are in contact (T, K) as `ClipScores` defines it."""
    speed = np.linalg.norm(np.diff(ankles, axis=0), axis=-1) / np.diff(times)[:, None]
    slow = np.pad(speed < CONTACT_MM_S, ((1, 1), (0, 0)), constant_values=True)
    return slow[1:] & slow[:-1] & (len(times) > 1)


def acceleration_error(predicted: np.ndarray, true: np.ndarray, frame: np.ndarray, times: np.ndarray) -> float:
    """Mean |a_pred - a_true|, mm/s^2, of points (N, J, 3), mm, in the clip's frames (N,), whose times (T,) are in s.

    a = (x[t - 1] - 2 x[t] + x[t + 1]) / dt^2, dt half the time between t - 1 and t + 1; of frames t whose neighbours
    have a row as well. NaN if there is none.
    """
    middle = np.flatnonzero((np.diff(frame[:-1]) == 1) & (np.diff(frame[1:]) == 1)) + 1
    if not len(middle):
        return NAN
    off = predicted - true
    step = (times[frame[middle + 1]] - times[frame[middle - 1]]) / 2
    bend = off[middle - 1] - 2 * off[middle] + off[middle + 1]
    return float((np.linalg.norm(bend, axis=-1) / step[:, None] ** 2).mean())


# All clips of a folder


def evaluate_clips(folder: Path, models: Models) -> dict[str, Any]:
    """Figures for every NAME.mp4 with NAME_gt.json in a folder: {'clips': {NAME: {...}}, 'mean': {...}}.

    The keys are the fields of `ClipScores`. The mean is over the clips in which a figure is defined, every clip
    counting the same; NaN if it is in none. DataError if there is no such clip.
    """
    names = sorted(path.name.removesuffix("_gt.json") for path in folder.glob("*_gt.json"))
    if not names:
        raise DataError(f"{folder}: no NAME.mp4 with NAME_gt.json in it")
    clips = {}
    for name in names:
        truth = read_truth(folder / f"{name}_gt.json")
        try:
            found = as_one(find_poses(folder / f"{name}.mp4", models))
            clips[name] = asdict(score_clip(found, truth, models.lifter))
        except DataError as error:
            raise DataError(f"{folder / name}_gt.json: {error}") from error
    keys = [field.name for field in fields(ClipScores)]
    return {"clips": clips, "mean": {key: mean([scores[key] for scores in clips.values()]) for key in keys}}


def mean(values: Sequence[float]) -> float:
    """Of the figures that are defined; NaN if none is."""
    defined = [value for value in values if np.isfinite(value)]
    return float(np.mean(defined)) if defined else NAN


# Figure, heading above it and digits after the point.
COLUMNS = (
    ("frames", "frames", 0),
    ("found", "found", 0),
    ("pck", "PCK@0.2", 1),
    ("mpjpe_mm", "MPJPE", 1),
    ("pa_mpjpe_mm", "PA-", 1),
    ("mpjpe_true_focal_mm", "MPJPE f", 1),
    ("pa_mpjpe_true_focal_mm", "PA- f", 1),
    ("root_mm", "root", 0),
    ("root_scaled_mm", "scaled", 0),
    ("skate_mm_s", "skate", 0),
    ("skate_true_mm_s", "(true)", 0),
    ("accel_mm_s2", "accel", 0),
    ("accel_world_mm_s2", "a world", 0),
)

LEGEND = f"""
12 limb joints; root: the middle of the hips; over the frames with a person; mean: over clips; -: not defined.
PCK@0.2  joints in the frame within 0.2 of the torso's diagonal, %; frames without a person count as missed
MPJPE    relative to the root, mm, with the focal length that the program takes by itself; PA-: best aligned
MPJPE f  the same with the true focal length, as all that follows
root     distance of the root from the true one, camera axes, mm; scaled: after the one best scale for the clip
skate    horizontal speed of our ankles in the world while the true one is slower than {CONTACT_MM_S:.0f} mm/s, mm/s;
         (true): that of the true ankles then
accel    |a - a true| of joints relative to the root, mm/s^2; a world: of joints in the world, with the root's motion"""


def table(result: dict[str, Any]) -> str:
    """The figures as text, a line per clip, and what they mean."""
    width = max(len("mean"), *(len(name) for name in result["clips"]))
    lines = [f"{'clip':<{width}}" + "".join(f"{heading:>9}" for _, heading, _ in COLUMNS)]
    for name, scores in [*result["clips"].items(), ("mean", result["mean"])]:
        cells = [f"{scores[key]:.{digits}f}" if np.isfinite(scores[key]) else "-" for key, _, digits in COLUMNS]
        lines.append(f"{name:<{width}}" + "".join(f"{cell:>9}" for cell in cells))
    return "\n".join([*lines, LEGEND])

"""Where a person stands: which way is up for the camera, and world coordinates with the floor at z = 0.

A `Track3D` is relative to the pelvis and in camera axes (x right, y down, z away). Few cameras are level, so drawn as
it is a person leans and floats. Gravity is read off the person: who stands or walks has the body above the feet.

World axes: x right, y forward (where the camera looks, along the ground), z up; mm.
"""

import numpy as np

from pipeline.poses import Track3D

CAMERA_UP = np.array([0.0, -1.0, 0.0])

# A body is stretched out when its torso is in line with the legs and its knees are fairly straight; one knee may be
# bent more, as walking bends them in turn. Degrees.
MAX_HIP_BEND, MAX_KNEE_BEND, MAX_SWING_KNEE_BEND = 30.0, 35.0, 60.0
# A stretched body is taken for upright up to these angles from the camera's up, degrees. Cameras look down more often
# and more steeply than up, and few are held askew; beyond that the person lies, falls or stands on the hands.
MAX_LOOKING_DOWN, MAX_LOOKING_UP, MAX_ROLL = 50.0, 30.0, 20.0
# How far from level cameras are, and how well a person tells: the scatter of one posture about the vertical, and the
# habitual lean that no length of clip averages out. Standard deviations, degrees.
PITCH_PRIOR, ROLL_PRIOR, POSTURE_SCATTER, HABITUAL_LEAN = 15.0, 4.0, 10.0, 2.0
POSTURE_S = 0.5  # frames of the same half second show the same posture: one piece of evidence, not many
SOLE_MM = 40.0  # people balance over the middle of their soles, this far in front of their ankles

# The floor of one frame is the lowest joint's height, but for frames that stick out this far from those next to them
# in time, and smoothed over frames this close: true to a squat and to the swing of a walk within millimetres.
OUTLIER_MM, NEXT_S, FLOOR_S = 80.0, 0.04, 0.2


def up_direction(*tracks: Track3D) -> np.ndarray:
    """The direction against gravity in camera axes, a unit vector (3,), one for the whole clip.

    `tracks` are the people of one clip; their skeletons need pelvis, thorax, hips, knees and ankles (ValueError if
    not). The median tilt of the bodies in stretched, upright frames, drawn towards the camera's own up (0, -1, 0) the
    fewer and the more scattered such frames are: roll far more than pitch. Exactly the camera's up where there are
    none (lying, sitting, handstands). Frames with non-finite joints are passed over.
    """
    found = [_upright_tilts(track) for track in tracks]
    tilts = np.concatenate([tilt for tilt, _ in found]) if found else np.zeros((0, 2))
    if len(tilts) == 0:
        return CAMERA_UP.copy()
    centre = np.median(tilts, axis=0)
    scatter = np.maximum(1.4826 * np.median(np.abs(tilts - centre), axis=0), POSTURE_SCATTER)
    doubt = scatter**2 / sum(postures for _, postures in found) + HABITUAL_LEAN**2
    prior = np.array([PITCH_PRIOR, ROLL_PRIOR]) ** 2
    pitch, roll = np.radians(centre * prior / (prior + doubt))
    return np.array([np.sin(roll) * np.cos(pitch), -np.cos(roll) * np.cos(pitch), -np.sin(pitch)])


def world_from_camera(up: np.ndarray) -> np.ndarray:
    """Rotation (3, 3) from camera axes to world axes: world = rotation @ camera.

    `up` (3,) is the direction against gravity in camera axes, of any length; ValueError if it lies along the viewing
    direction, as then no direction on the ground is 'forward'.
    """
    z = np.asarray(up, np.float64) / np.linalg.norm(up)
    forward = np.array([0.0, 0.0, 1.0])
    y = forward - (forward @ z) * z
    if np.linalg.norm(y) < 1e-6:
        raise ValueError(f"up {tuple(up)} lies along the viewing direction")
    y /= np.linalg.norm(y)
    return np.stack([np.cross(y, z), y, z])


def stand(track: Track3D, up: np.ndarray | None = None) -> np.ndarray:
    """World poses (T, J, 3), mm, of a person who stands on the floor z = 0, the root above the origin.

    `up` (3,) is the direction against gravity in camera axes, by default that of `up_direction(track)`; people of one
    clip should share it. Whatever is lowest touches the floor: the feet as a rule, the hands in a handstand. In a
    jump the feet stay on the floor too, as a root-relative pose does not tell how high it is. Joints that are
    not finite become NaN and move nothing else.
    """
    rotation = world_from_camera(up_direction(track) if up is None else up)
    poses = _finite(track.xyz) @ rotation.T
    height = poses[..., 2]
    lowest = np.where(np.isfinite(height), height, np.inf).min(axis=1)
    poses[..., 2] = height - _smooth_floor(lowest, track.time_s)[:, None]
    return poses


def _upright_tilts(track: Track3D) -> tuple[np.ndarray, int]:
    """Pitch and roll (N, 2), degrees, of the body in its stretched, upright frames, and the number of postures.

    Pitch is positive when the body points towards the camera, as for a camera that looks down; roll to the right.
    """
    names = ("pelvis", "thorax", "l_hip", "l_knee", "l_ankle", "r_hip", "r_knee", "r_ankle")
    joints = np.moveaxis(_finite(track.xyz)[:, track.skeleton.indices(names)], 1, 0)
    pelvis, thorax, l_hip, l_knee, l_ankle, r_hip, r_knee, r_ankle = joints
    ankles = (l_ankle + r_ankle) / 2
    knees = np.stack([_angle(l_knee - l_ankle, l_hip - l_knee), _angle(r_knee - r_ankle, r_hip - r_knee)])
    stretched = (_angle(pelvis - ankles, thorax - pelvis) < MAX_HIP_BEND) & (knees.min(0) < MAX_KNEE_BEND)
    stretched &= knees.max(0) < MAX_SWING_KNEE_BEND

    stretched &= np.linalg.norm(np.cross(l_hip - r_hip, thorax - ankles), axis=-1) > 0  # hips tell where forward is
    legs_to_thorax, left = (thorax - ankles)[stretched], (l_hip - r_hip)[stretched]
    forward = np.cross(left, legs_to_thorax)
    x, y, z = (legs_to_thorax - SOLE_MM * forward / np.linalg.norm(forward, axis=-1, keepdims=True)).T
    pitch, roll = np.degrees(np.arctan2(-z, np.hypot(x, y))), np.degrees(np.arctan2(x, -y))
    upright = (pitch > -MAX_LOOKING_UP) & (pitch < MAX_LOOKING_DOWN) & (np.abs(roll) < MAX_ROLL)
    postures = np.unique(np.floor(track.time_s[stretched][upright] / POSTURE_S))
    return np.stack([pitch, roll], axis=1)[upright], len(postures)


def _finite(points: np.ndarray) -> np.ndarray:
    """Points (..., 3) as float64, those that are not finite set to NaN, which arithmetic carries silently."""
    return np.where(np.isfinite(points).all(axis=-1, keepdims=True), points, np.nan).astype(np.float64)


def _angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angle between vectors (T, 3), degrees (T,); 180, never small, where one is zero or not finite."""
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))
    return np.degrees(np.arccos(np.clip(np.nan_to_num(cosine, nan=-1.0), -1.0, 1.0)))


def _smooth_floor(lowest: np.ndarray, time_s: np.ndarray) -> np.ndarray:
    """The lowest point (T,) of each frame as a smooth curve over time (T,); non-finite values and outliers are bridged.

    A local parabola with weights that fade with the distance in time: zero-phase, true to squats, and at home with
    any frame rate, uneven time stamps and gaps.
    """
    known = np.isfinite(lowest)
    if not known.any():
        return np.zeros_like(lowest)
    lowest = np.interp(time_s, time_s[known], lowest[known])
    calm = np.array([np.median(lowest[_near(time_s, t, NEXT_S)]) for t in time_s])
    good = np.abs(lowest - calm) < OUTLIER_MM
    if good.any():
        lowest = np.interp(time_s, time_s[good], lowest[good])
    floor = np.empty_like(lowest)
    for row, t in enumerate(time_s):
        near = _near(time_s, t, FLOOR_S)
        offset = (time_s[near] - t) / FLOOR_S
        powers = np.stack([np.ones_like(offset), offset, offset**2])
        weighted = powers * (1 - np.abs(offset).clip(max=1) ** 3) ** 3
        # the small ridge leaves a lone frame its own value
        normal = weighted @ powers.T + np.diag([0.0, 1e-6, 1e-6])
        floor[row] = np.linalg.solve(normal, weighted @ lowest[near])[0]
    return floor


def _near(time_s: np.ndarray, t: float, radius: float) -> slice:
    """The rows of increasing times (T,) at most `radius` seconds from t."""
    return slice(*np.searchsorted(time_s, (t - radius - 1e-6, t + radius + 1e-6)))

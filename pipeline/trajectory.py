"""Where the root of a person goes: its path before the camera, and the person on the ground of the world.

A lifted pose is relative to its root. Its joints and their pixels together tell how far away the root is, as a body of
known size looks smaller from afar. Depth found so is noisy, along the line of sight far more than across it. What the
picture does not tell, the ground does: it is flat, and feet that stand on it stay where they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import spsolve

from pipeline.camera import Intrinsics
from pipeline.clean import smooth
from pipeline.errors import InputError
from pipeline.place import stand, world_from_camera
from pipeline.poses import Track2D, Track3D
from pipeline.skeleton import H36M16, H36M17, Skeleton, convert, convert_scores

Parts = Sequence[slice]  # stretches of rows in which one person is followed, as `pipeline.clean.parts` gives them

MIN_JOINTS = 4  # that a frame must know
MIN_SPREAD = 1e-3  # of their rays: standard deviation on the plane z = 1; that of someone 400 m away
ROUNDS, HUBER, HUBER_MM = 5, 1.5, 30.0  # joints further off than this many robust deviations, and mm, count less
# Low-pass along the line of sight and across it. Paths of lifted motions with the detector's errors are off by 160 mm,
# after one scale, with 0.4 Hz and by 205 with 1; exact input loses 8 to 35 mm with 0.4 Hz. A depth further than so many
# robust deviations from the smooth one counts less, and one that its frame tells badly, against the usual frame's.
ALONG_HZ, ACROSS_HZ = 0.4, 6.0
DEPTH_HUBER, DEPTH_ROUNDS, LEAST_SHARE, GREATEST_SHARE = 1.5, 8, 0.01, 10.0

# What touches the ground is slow for a while, and nothing that flies is slow for so long. Along the line of sight the
# noise of depth passes for speed. It is also among the lowest joints of the body, and near to the ground found.
SLOW_MM_S, SLOW_ALONG_MM_S, STILL_S, GAP_S = 500.0, 1500.0, 0.1, 0.35
LOW_MM, NEAR_MM = 80.0, 200.0
# Doubt of `up_direction`, degrees, as a standard deviation and at the most, and of the height of who stands, mm;
# contacts of the same half second are one piece of evidence.
TILT_SD, MAX_TILT, HEIGHT_SD, GROUND_S = 2.0, 10.0, 60.0, 0.5
PLANE_ROUNDS = 10  # of reweighting, by when the plane has settled

# Feet are held against the picture, which wins after PULL_S, the less the faster they are against HELD_MM_S; low feet
# are within FOOT_MM of the lowest joint. Corrections bend within EASE_S and, of height, go straight from one contact
# to the next, seen over LEVEL_S.
PULL_S, EASE_S, LEVEL_S = 0.8, 0.04, 0.2
HELD_MM_S, FOOT_MM, HOLD_ROUNDS = 400.0, 120.0, 8

# Nobody is in the air for longer than AIR_S, a jump 0.6 m high; what else seems so is drift, lower than DRIFT_HZ.
AIR_S, DRIFT_HZ = 0.7, 1.0

# From the ankle joint to the floor, as a share of the stature (Winter 2009, table 4.1, after Drillis and Contini).
ANKLE_HEIGHT = 0.039
LEAST_HEIGHT, GREATEST_HEIGHT = 500.0, 2600.0  # mm, of people


@dataclass(frozen=True)
class RootPath:
    """Root of a person over a clip: xyz (T, 3), mm, camera axes, and whether each frame told it, solved (T,) bool.

    Other frames are filled from their neighbours in time. If no frame told it, xyz is NaN.
    """

    xyz: np.ndarray
    solved: np.ndarray


@dataclass(frozen=True)
class Ground:
    """The floor of a clip: world = rotation (3, 3) @ camera + (0, 0, height), height that of the camera in mm.

    World axes: x right, y forward, z up, floor z = 0, the camera above the origin.
    """

    rotation: np.ndarray
    height: float

    @property
    def up(self) -> np.ndarray:
        """The direction against gravity (3,) in camera axes, a unit vector."""
        return self.rotation[2]

    def to_world(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) in camera axes, mm, in world axes."""
        return points @ self.rotation.T + (0.0, 0.0, self.height)

    def to_camera(self, world: np.ndarray) -> np.ndarray:
        """World points (..., 3), mm, in camera axes: the exact inverse of `to_world`."""
        return (world - (0.0, 0.0, self.height)) @ self.rotation


def joint_rays(track: Track2D, intrinsics: Intrinsics) -> tuple[np.ndarray, np.ndarray]:
    """Rays (T, 17, 2) on z = 1 and scores (T, 17) of a 2D track for the joints of H36M17.

    The nose, which H36M16 lacks, has score 0. InputError if the track's skeleton does not convert to H36M16.
    """
    columns = H36M17.indices(H36M16.joints)
    rays, weight = np.zeros((len(track), len(H36M17), 2)), np.zeros((len(track), len(H36M17)))
    rays[:, columns] = intrinsics.rays(convert(track.xy, track.skeleton, H36M16))
    weight[:, columns] = convert_scores(track.score, track.skeleton, H36M16)
    return rays, weight


def solve_root(poses: np.ndarray, rays: np.ndarray, *, weight: np.ndarray) -> np.ndarray:
    """Root positions (T, 3), mm, camera axes, each from its own frame alone; NaN where a frame does not tell.

    poses (T, J, 3) are relative to the root, mm, camera axes; rays (T, J, 2) points on z = 1 of the same joints;
    weight (T, J) not negative. Joint (X, Y, Z) at ray (u, v) of a root T gives Tx - u Tz = u Z - X and
    Ty - v Tz = v Z - Y, solved by weighted least squares, reweighted (Huber 1964) against wrong joints. A
    frame tells nothing if it has fewer than `MIN_JOINTS` joints, all in one direction, or a body behind the camera.
    """
    return _solve(poses, rays, weight=weight)[0]


def root_path(lifted: Track3D, rays: np.ndarray, *, weight: np.ndarray, parts: Parts = (slice(None),)) -> RootPath:
    """The root over time, from rays (T, J, 2) on z = 1 and weights (T, J) of the joints of `lifted`.

    As `solve_root`, then filled and smoothed without lag: the logarithm of the depth at `ALONG_HZ`, robustly and by
    how well each frame tells it, then, with this depth, the direction at `ACROSS_HZ`. `parts` are smoothed each by
    itself.
    """
    root, weight = _solve(lifted.xyz, rays, weight=weight)
    solved = np.isfinite(root).all(-1)
    if not solved.any():
        return RootPath(root, solved)
    time_s = lifted.time_s
    log_depth, share = _filled(np.log(root[:, 2]), solved, time_s), _shares(lifted.xyz, rays, root=root, weight=weight)
    for part in parts:
        log_depth[part] = _calm(log_depth[part], share[part], time_s[part])
    depth = np.exp(log_depth)
    across = _across(lifted.xyz, rays, depth=depth, weight=weight)
    direction = _filled(across / depth[:, None], solved, time_s)
    direction = _smoothed(direction, time_s, parts, cutoff_hz=ACROSS_HZ)
    return RootPath(np.concatenate([direction, np.ones_like(direction[:, :1])], -1) * depth[:, None], solved)


def find_ground(up: np.ndarray, *people: tuple[Track3D, np.ndarray]) -> Ground:
    """The floor of a clip from where its people, each a lifted track and its root (T, 3) in camera axes, touch it.

    `up` (3,) is the direction against gravity in camera axes. A plane is fitted to the joints that touch the ground,
    robustly (Huber), its tilt drawn to `up` by `TILT_SD`: only who walks far enough changes it. Where nobody ever
    touches it, as in a photo, it is at the median height of the lowest joints; without any joint, at the camera.
    """
    rotation = world_from_camera(up)
    touched, weight, lowest = [np.zeros((0, 3))], [np.zeros(0)], [np.zeros(0)]
    for lifted, root in people:
        points = (lifted.xyz + root[:, None]) @ rotation.T
        whole = np.isfinite(points).all((1, 2))
        points, time_s = points[whole], lifted.time_s[whole]
        rows = np.flatnonzero(_touching(points, time_s, eye=0.0).any(1))
        feet = points[rows, points[rows, :, 2].argmin(1)]
        touched.append(feet)
        weight.append(1 / _sharing(time_s[rows]))
        lowest.append(points[..., 2].min(1))
    places, heights = np.concatenate(touched), np.concatenate(lowest)
    if len(places):
        normal, height = _plane(places, np.concatenate(weight))
        return Ground(world_from_camera(normal @ rotation), height)
    return Ground(rotation, -float(np.median(heights)) if len(heights) else 0.0)


def world_path(lifted: Track3D, root: np.ndarray, ground: Ground, *, parts: Parts = (slice(None),)) -> np.ndarray:
    """World joints (T, J, 3), mm, of a person with the root at (T, 3), mm, camera axes, on the ground.

    What touches the ground is put on it; in between the height over the ground is that of the picture, so a jump
    leaves the floor. Who would be in the air, or below the floor, for longer than `AIR_S` is put on it too. Feet that
    touch it are held where they are, as far as the picture lets them within `PULL_S`.
    `lifted` must be finite; `parts` are treated each by itself. If `root` is NaN throughout, the person stands above
    the origin.
    """
    if not np.isfinite(root).any():
        return stand(lifted, ground.up)
    world = ground.to_world(lifted.xyz + root[:, None])
    for part in parts:
        world[part] += _correction(world[part], lifted.time_s[part], lifted.skeleton, eye=ground.height)[:, None]
    return world


def skating(feet: np.ndarray, time_s: np.ndarray, contact: np.ndarray) -> float:
    """Mean horizontal speed, mm/s, of world points (T, K, 3), mm, while in contact (T, K); NaN if none ever is.

    It is over the steps from one row to the next at both of which a point is in contact and finite.
    """
    speed = np.linalg.norm(np.diff(feet[..., :2], axis=0), axis=-1) / np.diff(time_s)[:, None]
    both = contact[1:] & contact[:-1] & np.isfinite(speed)
    return float(speed[both].mean()) if both.any() else float("nan")


def check_height(height_mm: float) -> None:
    """InputError, in the words of the option --height, if nobody is that tall."""
    if not LEAST_HEIGHT <= height_mm <= GREATEST_HEIGHT:
        raise InputError(
            f"--height {height_mm / 10:g}: people are {LEAST_HEIGHT / 10:g} to {GREATEST_HEIGHT / 10:g} cm tall"
        )


def scale_to_height(track: Track3D, height_mm: float) -> Track3D:
    """The track with one scale for the whole clip, such that the person, when stretched out, is so tall.

    The height of a track is the sum of its median bone lengths from the ankles, left and right averaged, to the top
    of the head, and `ANKLE_HEIGHT`. InputError if nobody is that tall; ValueError if the body has no finite size.
    """
    check_height(height_mm)
    if not len(track):
        return track
    factor = height_mm / _stature(track)
    if not np.isfinite(factor):
        raise ValueError("the body has no finite size")
    return replace(track, xyz=track.xyz * factor)


def _solve(poses: np.ndarray, rays: np.ndarray, *, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Roots (T, 3), NaN where not told, and the weights (T, J) after reweighting, 0 for joints that are not known."""
    usable = (weight > 0) & np.isfinite(weight) & np.isfinite(poses).all(-1) & np.isfinite(rays).all(-1)
    enough = usable.sum(1) >= MIN_JOINTS
    prior = np.where(usable, weight, 0.0)
    final, roots = prior.copy(), np.full((len(poses), 3), np.nan)
    if not enough.any():
        return roots, final
    poses, rays = (np.where(usable[..., None], points, 0.0)[enough].astype(np.float64) for points in (poses, rays))
    prior, known = prior[enough], usable[enough]
    current = prior
    for _ in range(ROUNDS):
        root, _ = _least_squares(poses, rays, current)
        depth = (poses[..., 2] + root[:, None, 2])[..., None]
        off = np.linalg.norm(poses[..., :2] + root[:, None, :2] - rays * depth, axis=-1)
        spread = 1.4826 * np.nanmedian(np.where(known, off, np.nan), axis=1, keepdims=True)
        current = prior * np.minimum(1.0, np.maximum(HUBER_MM, HUBER * spread) / np.maximum(off, 1e-9))
    root, extent = _least_squares(poses, rays, current)
    nearest = np.where(known, poses[..., 2] + root[:, None, 2], np.inf).min(1)
    told = (extent > MIN_SPREAD) & (nearest > 0) & (root[:, 2] > 0)
    roots[enough] = np.where(told[:, None], root, np.nan)
    final[enough] = current
    return roots, final


def _least_squares(poses: np.ndarray, rays: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Roots (T, 3) and spreads (T,) of the rays. Tx and Ty leave the normal equations as means; Tz remains."""
    share = (weight / weight.sum(1, keepdims=True))[..., None]
    right = rays * poses[..., 2:] - poses[..., :2]
    mean_rays, mean_right = (share * rays).sum(1), (share * right).sum(1)
    apart = rays - mean_rays[:, None]
    square = (share * apart**2).sum((1, 2))
    z = -(share * apart * right).sum((1, 2)) / np.maximum(square, MIN_SPREAD**2)
    return np.concatenate([mean_right + mean_rays * z[:, None], z[:, None]], -1), np.sqrt(square)


def _shares(poses: np.ndarray, rays: np.ndarray, *, root: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """How well frames tell the logarithm of the depth of the root, their Fisher information (T,), the usual being 1.

    It grows with the weight of the joints and the extent of the body across the line of sight, and falls with the
    joints' distance from their rays: who bends towards the camera, or was lifted wrongly, tells little. NaN roots: 0.
    """
    known = (weight > 0)[..., None]
    place = poses + root[:, None]
    off = np.where(known, place[..., :2] - rays * place[..., 2:], 0.0)
    total = np.maximum(weight.sum(1), 1e-9)
    share = (weight / total[:, None])[..., None]
    middle = (share * np.where(known, rays, 0.0)).sum(1, keepdims=True)
    extent = (share * np.where(known, rays - middle, 0.0) ** 2).sum((1, 2)) * root[:, 2] ** 2
    told = total * extent / ((share * off**2).sum((1, 2)) + HUBER_MM**2)
    usual = np.nanmedian(told)
    return np.nan_to_num(np.clip(told / usual, LEAST_SHARE, GREATEST_SHARE))


def _calm(values: np.ndarray, share: np.ndarray, time_s: np.ndarray) -> np.ndarray:
    """Values (T,) with weights (T,) as a curve of little bending: a smoothing spline, in steps of time, that lets
    half the amplitude of `ALONG_HZ` through (Whittaker 1923). Straight lines stay as they are, up to both ends.

    Reweighted (Huber) against stretches that are off.
    """
    if len(values) < 3 or not share.any():
        return values
    at, still = share + 1e-6, np.zeros(len(values) - 1)
    for _ in range(DEPTH_ROUNDS):
        curve = _eased(time_s, goal=values, at=at, speed=still, hold=still, ease=(2 * np.pi * ALONG_HZ) ** -2)
        off = np.abs(values - curve)
        usual = 1.4826 * np.median(off[share > 0])
        at = share * np.minimum(1.0, DEPTH_HUBER * usual / np.maximum(off, 1e-9)) + 1e-6
    return curve


def _across(poses: np.ndarray, rays: np.ndarray, *, depth: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Tx and Ty (T, 2) of roots whose Tz (T,) is given; 0 where no joint is known."""
    poses, rays = (np.where(weight[..., None] > 0, points, 0.0) for points in (poses, rays))
    reach = rays * (poses[..., 2:] + depth[:, None, None]) - poses[..., :2]
    total = weight.sum(1, keepdims=True)
    return (weight[..., None] * reach).sum(1) / np.where(total > 0, total, 1.0)


def _filled(path: np.ndarray, known: np.ndarray, time_s: np.ndarray) -> np.ndarray:
    """A path (T,) or (T, D) with unknown rows on the line between the known ones before and after."""
    columns = path.reshape(len(path), -1).T
    return np.stack([np.interp(time_s, time_s[known], c[known]) for c in columns], -1).reshape(path.shape)


def _smoothed(path: np.ndarray, time_s: np.ndarray, parts: Parts, *, cutoff_hz: float) -> np.ndarray:
    result = path.copy()
    for part in parts:
        result[part] = smooth(path[part], time_s[part], cutoff_hz=cutoff_hz)
    return result


def _touching(world: np.ndarray, time_s: np.ndarray, *, eye: float) -> np.ndarray:
    """Which joints (T, J) of world points (T, J, 3) may touch the ground: low on the body, and slow for a while."""
    return _still(world - (0.0, 0.0, eye), time_s) & (world[..., 2] < world[..., 2].min(1, keepdims=True) + LOW_MM)


def _still(points: np.ndarray, time_s: np.ndarray) -> np.ndarray:
    """Which points (T, J, 3), with the camera at the origin, are slow for `STILL_S` or more.

    They may seem faster along the line of sight than across it.
    """
    across, along = _split(points)
    step = np.diff(time_s)[:, None]
    slow = (across < SLOW_MM_S * step) & (along < SLOW_ALONG_MM_S * step) & (step <= GAP_S)
    still = np.zeros(points.shape[:2], bool)
    for joint, column in enumerate(slow.T):
        changes = np.flatnonzero(np.diff(column, prepend=False, append=False))
        for start, stop in changes.reshape(-1, 2):
            if time_s[stop] - time_s[start] >= STILL_S - 1e-6:
                still[start : stop + 1, joint] = True
    return still


def _split(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far points (T, J, 3) go from row to row across and along the line of sight from the origin, (T - 1, J)."""
    moved, middle = np.diff(points, axis=0), (points[1:] + points[:-1]) / 2
    sight = middle / np.maximum(np.linalg.norm(middle, axis=-1, keepdims=True), 1e-9)
    along = (moved * sight).sum(-1, keepdims=True)
    return np.linalg.norm(moved - along * sight, axis=-1), np.abs(along[..., 0])


def _sharing(time_s: np.ndarray) -> np.ndarray:
    """How many of these times (N,) are in the same half second as each (N,)."""
    _, which, count = np.unique(np.floor(time_s / GROUND_S), return_inverse=True, return_counts=True)
    return count[which]


def _plane(points: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, float]:
    """Unit normal (3,) of the plane through points (N, 3), z up, and the height of the origin above it."""
    x, y, z = points.T
    centre = np.average(points[:, :2], axis=0, weights=weight)
    design = np.stack([x - centre[0], y - centre[1], np.ones_like(x)], 1)
    level = np.diag([(HEIGHT_SD / np.tan(np.radians(TILT_SD))) ** 2] * 2 + [0.0])
    plane = np.array([0.0, 0.0, np.median(z)])
    for _ in range(PLANE_ROUNDS):
        off = np.abs(z - design @ plane)
        sure = (weight * np.minimum(1.0, HEIGHT_SD / np.maximum(off, 1e-9)))[:, None] * design
        plane = np.linalg.solve(sure.T @ design + level, sure.T @ z)
    steep = np.linalg.norm(plane[:2]) / np.tan(np.radians(MAX_TILT))
    if steep > 1:
        plane[:2] /= steep
        plane[2] = np.median(z - design[:, :2] @ plane[:2])
    length = np.hypot(1.0, np.linalg.norm(plane[:2]))
    return np.array([-plane[0], -plane[1], 1.0]) / length, float(plane[:2] @ centre - plane[2]) / length


def _correction(world: np.ndarray, time_s: np.ndarray, skeleton: Skeleton, *, eye: float) -> np.ndarray:
    """Offsets (T, 3) of a person (T, J, 3) that put on the floor what touches it and keep standing feet in place."""
    offset = np.zeros((len(world), 3))
    if len(world) < 3:
        return offset
    offset[:, 2] = -_drift(world[..., 2].min(1), time_s)
    level = world + offset[:, None]
    down = (_touching(level, time_s, eye=eye) & (np.abs(level[..., 2]) < NEAR_MM)).any(1)
    if down.any():
        to_floor = np.where(down, -level[..., 2].min(1), 0.0)
        straight, still = np.full(len(world) - 1, LEVEL_S**2), np.zeros(len(world) - 1)
        offset[:, 2] += _eased(time_s, goal=to_floor, at=down.astype(float), speed=still, hold=straight)
    offset[:, :2] = _holding(world + offset[:, None], time_s, skeleton, eye=eye)
    return offset


def _drift(lowest: np.ndarray, time_s: np.ndarray) -> np.ndarray:
    """How far above the floor someone is (T,), mm, without jumps, from the height (T,) of the lowest joint.

    What is higher for shorter than `AIR_S` than before and after is a jump (morphological opening), and stays.
    """
    for pick in (np.min, np.max):
        bounds = np.searchsorted(time_s, [time_s - AIR_S / 2 - 1e-6, time_s + AIR_S / 2 + 1e-6])
        lowest = np.array([pick(lowest[first:last]) for first, last in bounds.T])
    return smooth(lowest, time_s, cutoff_hz=DRIFT_HZ)


def _holding(world: np.ndarray, time_s: np.ndarray, skeleton: Skeleton, *, eye: float) -> np.ndarray:
    """Horizontal offsets (T, 2) of a person (T, J, 3) that keep low and slow ankles where they are.

    Which feet stand is found with the offsets: a low ankle pulls by (1 + (v / HELD_MM_S)^2)^-2 (Geman and McClure
    1987), where v is its horizontal speed, and what it pulls tells the speeds anew. To begin with v is that across the
    line of sight alone, as along it the noise of depth passes for speed.
    """
    feet = world[:, skeleton.indices(("l_ankle", "r_ankle"))]
    low = (feet[..., 2] < world[..., 2].min(1, keepdims=True) + FOOT_MM) & (np.abs(feet[..., 2]) < NEAR_MM)
    low = low[1:] & low[:-1]
    offset, pull, picture = np.zeros((len(world), 2)), np.full(len(world), PULL_S**-2), np.zeros(len(world))
    steps = np.diff(time_s)[:, None]
    speed = np.diff(feet, axis=0) / steps[..., None]
    pace = _split(feet - (0.0, 0.0, eye))[0] / steps
    for _ in range(HOLD_ROUNDS):
        hold = np.where(low & (steps <= GAP_S), (1 + (pace / HELD_MM_S) ** 2) ** -2, 0.0)
        total = hold.sum(1)
        for axis in (0, 1):
            moved = (hold * speed[..., axis]).sum(1) / np.maximum(total, 1e-9)
            offset[:, axis] = _eased(time_s, goal=picture, at=pull, speed=-moved, hold=total, ease=EASE_S)
        pace = np.linalg.norm(speed[..., :2] + (np.diff(offset, axis=0) / steps)[:, None], axis=-1)
    return offset


def _eased(
    time_s: np.ndarray, *, goal: np.ndarray, at: np.ndarray, speed: np.ndarray, hold: np.ndarray, ease: float = EASE_S
) -> np.ndarray:
    """Offsets o (T,), T > 2, that minimise sum at (o - goal)^2 + sum hold (o' - speed)^2 + ease^2 sum o''^2.

    goal and its weight `at` are (T,), speed and its weight `hold` (T - 1,); derivatives are differences over time.
    """
    count, steps = len(time_s), np.diff(time_s)
    rate = sparse.diags_array([-1 / steps, 1 / steps], offsets=[0, 1], shape=(count - 1, count))
    middle = (steps[1:] + steps[:-1]) / 2
    bend = sparse.diags_array([-1 / middle, 1 / middle], offsets=[0, 1], shape=(count - 2, count - 1)) @ rate
    normal = sparse.diags_array(at) + rate.T @ sparse.diags_array(hold) @ rate + ease**2 * bend.T @ bend
    return spsolve(normal.tocsc(), at * goal + rate.T @ (hold * speed))


def _stature(track: Track3D) -> float:
    """Height, mm, of the stretched body of a track."""

    def bone(a: str, b: str) -> float:
        ends = track.xyz[:, track.skeleton.indices((a, b))]
        return float(np.median(np.linalg.norm(ends[:, 0] - ends[:, 1], axis=-1)))

    legs = [bone(f"{side}_{a}", f"{side}_{b}") for side in "lr" for a, b in (("ankle", "knee"), ("knee", "hip"))]
    trunk = bone("pelvis", "spine") + bone("spine", "thorax") + bone("thorax", "head_top")
    return (sum(legs) / 2 + trunk) / (1 - ANKLE_HEIGHT)

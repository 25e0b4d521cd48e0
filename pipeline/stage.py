"""The 3D view of a clip before anybody is drawn in it: from where it looks, whether it follows, and its floor.

World axes: x right, y forward, z up, floor at z = 0; mm. The view stands still while people can be seen well all along
their way. Where the way is too long for that it goes along with them, always looking in the same direction, from the
same height and distance, so that the floor moves below.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.camera import Camera, Intrinsics
from pipeline.canvas import Backdrop, Canvas, Colour
from pipeline.clean import smooth

FAR = 1e9  # px or mm; joints beyond it are nonsense and left out, like those that are not finite
NEAR_MM = 200.0  # nothing closer to the eye is drawn
EMPTY_VIEW = np.array([[-600.0, -600.0, 0.0], [600.0, 600.0, 1700.0]])  # shown where a clip has no poses: corners, mm
LEAST_MM = 80.0  # half the extent of what is shown
FLOOR_MM = 1500.0  # how far the floor reaches before it fades, if no more is shown than a person within PERSON_MM
PERSON_MM = 800.0
FOLLOW_HZ = 0.25  # low-pass of the way of a view that follows
LEASH_MM, LEASH_S = 400.0, 0.4  # a live view follows people who are further off, and gets there in about this time
NEW_SCENE_S = 1.0  # with nobody there for longer, it starts anew


@dataclass(frozen=True)
class StageOptions:
    """How the 3D view looks."""

    azimuth: float = 28.0  # how far the 3D view is turned about the vertical, away from the real camera's, degrees
    elevation: float = 15.0  # how far the 3D view looks down, degrees; more than 0
    view_angle: float = 28.0  # what the 3D view's height spans, degrees
    margin: float = 0.09  # free border around the bodies in the 3D view, as a share of its width and height
    smallest: float = 0.45  # a view that stands still shows people at least this large, against one that follows
    grid_mm: float = 500.0  # distance between the floor's lines
    paper: Colour = (253, 251, 249)  # background of the 3D view
    floor: Colour = (240, 235, 230)
    grid: Colour = (192, 182, 174)


@dataclass(frozen=True)
class Way:
    """Where the view is over time: at (T, 2), mm, along the ground, at times (T,), s; T = 0: always at the origin."""

    time_s: np.ndarray
    at: np.ndarray

    @classmethod
    def still(cls) -> "Way":
        return cls(np.zeros(0), np.zeros((0, 2)))

    def shift(self, time_s: float) -> np.ndarray:
        """How far (3,), mm, the view has gone."""
        if not len(self.time_s):
            return np.zeros(3)
        return np.array([*(np.interp(time_s, self.time_s, axis) for axis in self.at.T), 0.0])

    @property
    def follows(self) -> bool:
        """Whether it ever moves."""
        return len(self.time_s) > 0


class LiveWay:
    """Where the view is while nobody knows where people will go: it stands still around them, and is drawn along as if
    on a leash when they go further than `LEASH_MM` from its middle.
    """

    follows = True

    def __init__(self) -> None:
        self._at = np.zeros(2)
        self._time_s = -np.inf  # when somebody was there last

    def go(self, middle: np.ndarray, time_s: float) -> None:
        """The middle (2,) of all people who are there now, mm, along the ground."""
        step, self._time_s = time_s - self._time_s, time_s
        away = middle - self._at
        distance = float(np.linalg.norm(away))
        if step > NEW_SCENE_S:  # with nobody to be seen on the way, the view jumps
            self._at = middle.copy()
        elif distance > LEASH_MM:
            self._at = self._at + away * (1 - LEASH_MM / distance) * -np.expm1(-step / LEASH_S)

    def shift(self, _time_s: float) -> np.ndarray:
        """How far (3,), mm, the view has gone by now."""
        return np.array([*self._at, 0.0])


class Stage:
    """The view of one clip, of a (width, height).

    `world_poses` are all poses of the clip, an array (T, J, 3) per person, world mm. With `times`, an array (T,) of
    seconds per person, the view may follow; or it goes a `way` that is given. `label` writes on the view what is always
    there. `camera` takes world points, less the `shift` at their time, to the view.
    """

    def __init__(
        self,
        world_poses: Sequence[np.ndarray],
        size: tuple[int, int],
        *,
        options: StageOptions,
        times: Sequence[np.ndarray] | None = None,
        way: LiveWay | None = None,
        label: Callable[[Canvas], None] = lambda view: None,
    ) -> None:
        poses = [tidy(person) for person in world_poses]
        rotation = _rotation(options)
        self._way: Way | LiveWay = way or Way.still()
        low, high = _extent(poses, rotation)
        if times is not None:
            along = _follow(poses, times)
            around = [person - _shifts(along, time_s) for person, time_s in zip(poses, times, strict=True)]
            closer = _extent(around, rotation)
            if options.smallest * _distance(low, high, size, options=options) > _distance(
                *closer, size, options=options
            ):
                (low, high), self._way = closer, along
        focal = _focal(size, options)
        intrinsics = Intrinsics(focal, focal, (size[0] - 1) / 2, (size[1] - 1) / 2)
        middle = (low + high) / 2
        away = np.array([0.0, 0.0, _distance(low, high, size, options=options)])
        self.camera = Camera(intrinsics, rotation, away - middle)
        wide = float(np.hypot(*(high - low)[[0, 2]]) / 2)
        reach = max(FLOOR_MM, FLOOR_MM + wide - PERSON_MM)
        self._floor = _Floor(self.camera, size, middle=rotation.T @ middle, reach=reach, options=options)
        self._label = label
        self._still: Canvas | None = None  # the view in the colours that it is wanted in, if it never moves

    def shift(self, time_s: float) -> np.ndarray:
        """How far (3,), mm, the view has gone by a time: what to take off world points."""
        return self._way.shift(time_s)

    @property
    def follows(self) -> bool:
        """Whether the view goes along with the people."""
        return self._way.follows

    def paint(self, view: Canvas, time_s: float) -> None:
        """Cover a view with what it is with nobody in it."""
        if self.follows:
            self._paint(view, self.shift(time_s))
            return
        if self._still is None:
            self._still = Canvas.like(view.picture, view.size)
            self._paint(self._still, np.zeros(3))
        view.paste(self._still.picture)

    def _paint(self, view: Canvas, shift: np.ndarray) -> None:
        self._floor.paint(view, shift)
        self._label(view)


def tidy(points: np.ndarray) -> np.ndarray:
    """Points (..., D) as float64, those that are infinite or absurd set to NaN, which arithmetic carries silently."""
    points = np.asarray(points, np.float64)
    return np.where((np.abs(points) < FAR).all(axis=-1, keepdims=True), points, np.nan)


# From where it looks


def _rotation(options: StageOptions) -> np.ndarray:
    """From world axes to the view's: it looks from the real camera's side, turned so that depth shows."""
    azimuth, elevation = np.radians([options.azimuth, options.elevation])
    forward = np.array([np.sin(azimuth) * np.cos(elevation), np.cos(azimuth) * np.cos(elevation), -np.sin(elevation)])
    right = np.array([np.cos(azimuth), -np.sin(azimuth), 0.0])
    return np.stack([right, np.cross(forward, right), forward])


def _focal(size: tuple[int, int], options: StageOptions) -> float:
    return float(size[1] / 2 / np.tan(np.radians(options.view_angle) / 2))


def _distance(low: np.ndarray, high: np.ndarray, size: tuple[int, int], *, options: StageOptions) -> float:
    """How far, mm, from the middle of a box in turned axes the eye must be to see it all."""
    half = np.maximum((high - low) / 2, LEAST_MM)
    room = np.array(size) * (0.5 - options.margin)
    return float((_focal(size, options) * half[:2] / room).max() + half[2] + NEAR_MM)


def _extent(poses: Sequence[np.ndarray], rotation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest coordinates (3,) of turned poses, the outermost percent of the frames left out.

    A stray frame must not push the view away.
    """
    every = np.concatenate(poses) if len(poses) else EMPTY_VIEW[None]
    every = every[np.isfinite(every).any(axis=(1, 2))]
    turned = (every if len(every) else EMPTY_VIEW[None]) @ rotation.T
    low, high = np.nanmin(turned, axis=1), np.nanmax(turned, axis=1)
    return np.quantile(low, 0.01, axis=0), np.quantile(high, 0.99, axis=0)


def _follow(poses: Sequence[np.ndarray], times: Sequence[np.ndarray]) -> Way:
    """The way of the middle of all people who are there, smoothed without lag."""
    middles, when = [np.zeros((0, 2))], [np.zeros(0)]
    for person, time_s in zip(poses, times, strict=True):
        known = np.isfinite(person).all(-1).any(-1)
        middles.append(np.nanmedian(person[known], axis=1)[:, :2])
        when.append(time_s[known])
    time_s, which, count = np.unique(np.concatenate(when), return_inverse=True, return_counts=True)
    if not len(time_s):
        return Way.still()
    at = np.zeros((len(time_s), 2))
    np.add.at(at, which, np.concatenate(middles))
    return Way(time_s, smooth(at / count[:, None], time_s, cutoff_hz=FOLLOW_HZ))


def _shifts(way: Way, time_s: np.ndarray) -> np.ndarray:
    """`Way.shift` of times (T,), as (T, 1, 3)."""
    return np.array([way.shift(t) for t in time_s]).reshape(-1, 1, 3)


# The floor


class _Floor:
    """A floor with a grid that fades into paper away from `middle` (3,), world mm, within `reach` mm.

    Where the view goes, only the lines move: all else is worked out once.
    """

    def __init__(
        self, camera: Camera, size: tuple[int, int], *, middle: np.ndarray, reach: float, options: StageOptions
    ) -> None:
        (x, y), falls = _ground(camera, size)
        far = ((x - np.float32(middle[0])) ** 2 + (y - np.float32(middle[1])) ** 2) / np.float32(2 * reach**2)
        fade = np.where(falls, np.exp(-far), np.float32(0))
        paper, floor = (np.array(colour, np.float32) for colour in (options.paper, options.floor))
        self._plain = Backdrop(np.rint(paper + fade[..., None] * (floor - paper)).astype(np.uint8))
        self._grid, self._grid_mm = options.grid, options.grid_mm

        self._part = _bounds(fade > 0.02)  # in which lines can be seen
        self._half_px = np.float32(0.5 + max(size[1] / 1400, 0.5))
        self._axes = []
        for along in (x[self._part], y[self._part]):
            # mm of floor that a pixel covers: lines are equally thin everywhere
            pixel = np.hypot(*np.gradient(along)) + np.float32(1e-6) if min(along.shape) > 1 else np.ones_like(along)
            clear = 255 * fade[self._part] * (1 - (pixel / (0.3 * options.grid_mm)).clip(max=1))
            self._axes.append((along / options.grid_mm, options.grid_mm / pixel, clear))

    def paint(self, view: Canvas, shift: np.ndarray) -> None:
        """Cover a view with the floor after it has gone by `shift` (3,), mm."""
        view.paste(self._plain)
        rows, columns = self._part
        lines = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.float32)
        if not lines.size:
            return
        for (place, per_px, clear), gone in zip(self._axes, shift[:2] / self._grid_mm, strict=True):
            off = place + np.float32(gone % 1)
            off -= np.rint(off)
            np.abs(off, out=off)
            off *= per_px
            np.subtract(self._half_px, off, out=off)
            np.clip(off, 0, 1, out=off)
            off *= clear
            np.maximum(lines, off, out=lines)
        view.stain(np.rint(lines, out=lines).astype(np.uint8), (columns.start, rows.start), self._grid)


def _ground(camera: Camera, size: tuple[int, int]) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Where each pixel of a view of a (width, height) sees the ground z = 0: x and y (H, W), world mm, float32; and
    whether it does (H, W): if not, x and y mean nothing.
    """
    # The ray of a pixel is a sum of what its column and its row add to that of the first pixel.
    first, right, below = camera.intrinsics.rays(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    turned = np.array([(*(right - first), 0.0), (*(below - first), 0.0), (*first, 1.0)]) @ camera.rotation
    columns, rows = np.arange(size[0], dtype=np.float32), np.arange(size[1], dtype=np.float32)[:, None]
    x, y, z = (columns * a + (rows * b + c) for a, b, c in turned.T.astype(np.float32))
    eye = camera.to_world(np.zeros(3)).astype(np.float32)
    falls = z < -1e-3
    steps = eye[2] / np.where(falls, z, np.float32(-1e-3))
    return (eye[0] - x * steps, eye[1] - y * steps), falls


def _bounds(mask: np.ndarray) -> tuple[slice, slice]:
    """The smallest rows and columns, from even ones to even ones, that hold all of a mask (H, W) of even sides."""
    lines = (np.flatnonzero(mask.any(axis)) // 2 * 2 for axis in (1, 0))
    rows, columns = (slice(int(line[0]), int(line[-1]) + 2) if len(line) else slice(0, 0) for line in lines)
    return rows, columns

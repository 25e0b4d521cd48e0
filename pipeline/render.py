"""The picture that people see: the frame with its 2D skeleton, beside it the 3D skeleton on a floor.

Drawn with OpenCV alone, fast enough to keep a video encoder busy. Colours are BGR, as OpenCV has them. In pixels an
integer is a pixel's centre. World axes: x right, y forward, z up, floor at z = 0; mm.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import overload

import cv2
import numpy as np

from pipeline.camera import Camera
from pipeline.canvas import Canvas, Colour, bands, fill, in_fixed_point
from pipeline.planes import Planes
from pipeline.skeleton import Skeleton
from pipeline.stage import NEAR_MM, LiveWay, Stage, StageOptions, tidy

SEPARATOR, SEPARATOR_GREY = 2, 205  # the line between the panels: width, px, and brightness
LETTERBOX_GREY = 24  # around a frame that does not fill its panel
# Radius of 2D bones, as a share of the person's extent, and its limits as shares of the panel's height.
BONE_2D, THINNEST_2D, THICKEST_2D = 0.011, 0.002, 0.0048

# The 3D figure, mm: radii of its bones, of the balls at its joints and of its head, whose top is the head_top joint.
BONE_MM, JOINT_MM, HEAD_MM = 17.0, 26.0, 80.0
RIM = 0.0035  # light rim that parts bones from what is behind them, as a share of the view's height
SHADOW_MM, SHADOW_STRENGTH = 45.0, 0.32  # half the width of a bone's shadow; how much light the darkest takes
SHADOW_SHRINK = 4  # shadows are soft: they are drawn this much smaller and enlarged


@dataclass(frozen=True)
class RenderOptions(StageOptions):
    """How the picture looks."""

    min_score: float = 0.3  # 2D joints less sure than this are left out, and with them the bones that end there
    max_height: int = 1080  # taller frames are drawn smaller, px
    min_height: int = 240  # smaller frames are drawn larger, px
    max_frame_width: int = 4096  # very wide frames are drawn smaller, px
    left: Colour = (230, 119, 31)
    right: Colour = (56, 56, 222)
    middle: Colour = (96, 88, 82)  # bones of neither side, in 3D
    middle_2d: Colour = (244, 244, 244)  # and over the frame
    outline_2d: Colour = (34, 30, 28)  # rim of the 2D skeleton, so that it shows on any background
    ink: Colour = (122, 112, 106)  # captions


@dataclass(frozen=True)
class Figure:
    """One person in one frame.

    xy     (J2, 2)   pixels of the frame
    score  (J2,)     0 to 1
    xyz    (J3, 3)   world, mm; None where there is no 3D pose
    name   what is written above the person's head in both panels; '': nothing
    """

    xy: np.ndarray
    score: np.ndarray
    xyz: np.ndarray | None = None
    name: str = ""


class Renderer:
    """Draws the frames of one clip beside their 3D poses.

    `frame_size` is the (width, height) of the frames; `world_poses` are all 3D poses of the clip, an array
    (T, J3, 3) per person, world mm, and `times`, an array (T,) of seconds per person, lets the 3D view follow people
    who go far; else it goes the `way` that is given, or never moves. `size` is the (width, height) of the pictures:
    even numbers, as encoders ask.
    """

    def __init__(
        self,
        frame_size: tuple[int, int],
        world_poses: Sequence[np.ndarray],
        *,
        skeleton_2d: Skeleton,
        skeleton_3d: Skeleton,
        times: Sequence[np.ndarray] | None = None,
        way: LiveWay | None = None,
        options: RenderOptions | None = None,
    ) -> None:
        self.options = options or RenderOptions()
        self.skeleton_2d, self.skeleton_3d = skeleton_2d, skeleton_3d
        self._layout = _Layout.of(frame_size, self.options)
        self.size = self._layout.size
        self._stage = Stage(
            world_poses,
            self._layout.view_size,
            times=times,
            way=way,
            label=partial(_draw_legend, options=self.options),
            options=self.options,
        )

    @overload
    def draw(self, image: Planes, figures: Sequence[Figure], time_s: float) -> Planes: ...
    @overload
    def draw(self, image: np.ndarray, figures: Sequence[Figure], time_s: float) -> np.ndarray: ...
    def draw(self, image: np.ndarray | Planes, figures: Sequence[Figure], time_s: float) -> np.ndarray | Planes:
        """The picture of a frame, both images (H, W, 3) uint8 BGR or both planes; the frame is not changed.

        Without figures it is the plain frame beside the empty floor. Joints that are not finite are left out.
        ValueError if the frame is not of the clip's size.
        """
        canvas = Canvas.like(image, self.size)
        panel, view = self._layout.compose(canvas, image)
        self._stage.paint(view, time_s)
        for figure in figures:
            joints = tidy(self._layout.to_panel(tidy(figure.xy)))
            _draw_2d(panel, joints, figure.score, skeleton=self.skeleton_2d, options=self.options)
            _draw_name(panel, figure.name, joints[figure.score >= self.options.min_score], self.options)
        camera, shift = self._stage.camera, self._stage.shift(time_s)
        bodies = [tidy(figure.xyz - shift) for figure in figures if figure.xyz is not None]
        for body in bodies:
            _draw_shadow(view, body, skeleton=self.skeleton_3d, camera=camera)
        _draw_bodies(view, bodies, skeleton=self.skeleton_3d, camera=camera, options=self.options)
        names = [figure.name for figure in figures if figure.xyz is not None]
        for name, body in zip(names, bodies, strict=True):
            _draw_name(view, name, camera.project(np.add(body, (0, 0, HEAD_MM))), self.options)
        _draw_time(view, time_s, self.options)
        return canvas.picture


# Layout


@dataclass(frozen=True)
class _Layout:
    """Where the frame and the 3D view lie in the picture. Sizes are (width, height), px."""

    frame_size: tuple[int, int]  # as the clip has it
    drawn_size: tuple[int, int]  # as it is drawn
    panel_size: tuple[int, int]  # the left panel, in the middle of which it is drawn
    view_size: tuple[int, int]  # the right panel

    @classmethod
    def of(cls, frame_size: tuple[int, int], options: RenderOptions) -> "_Layout":
        width, height = frame_size
        scale = min(max(1.0, options.min_height / height), options.max_height / height, options.max_frame_width / width)
        drawn = max(round(width * scale), 1), max(round(height * scale), 1)
        panel_height = max(drawn[1], options.min_height)
        panel_height += panel_height % 2
        panel_width = max(drawn[0], panel_height // 3)
        panel_width += panel_width % 2  # all starts at even places, as two pixels share their colour in a video
        narrowest = max(0.7 * panel_height, options.min_height)  # still holds the captions
        view_width = round(min(max(panel_width, narrowest), panel_height))
        view_width += view_width % 2
        return cls(frame_size, drawn, (panel_width, panel_height), (view_width, panel_height))

    @property
    def size(self) -> tuple[int, int]:
        return self.panel_size[0] + SEPARATOR + self.view_size[0], self.panel_size[1]

    @property
    def corner(self) -> tuple[int, int]:
        """Upper left corner of the drawn frame, px, even."""
        across, down = ((room - drawn) // 4 * 2 for room, drawn in zip(self.panel_size, self.drawn_size, strict=True))
        return across, down

    def compose(self, canvas: Canvas, image: np.ndarray | Planes) -> tuple[Canvas, Canvas]:
        """Put a frame into the left panel; that panel and the right one, in which nothing is yet."""
        size = image.size if isinstance(image, Planes) else image.shape[1::-1]
        if size != self.frame_size or (isinstance(image, np.ndarray) and image.shape[2:] != (3,)):
            raise ValueError(f"expected a frame of {self.frame_size} (width, height), got one of {size}")
        panel = canvas.part((0, 0), self.panel_size)
        if self.drawn_size != self.panel_size:
            panel.flood((LETTERBOX_GREY,) * 3)
        panel.part(self.corner, self.drawn_size).paste(image)
        canvas.part((self.panel_size[0], 0), (SEPARATOR, self.panel_size[1])).flood((SEPARATOR_GREY,) * 3)
        return panel, canvas.part((self.panel_size[0] + SEPARATOR, 0), self.view_size)

    def to_panel(self, xy: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) of the frame as pixels of the left panel."""
        return (xy + 0.5) * np.divide(self.drawn_size, self.frame_size) - 0.5 + self.corner


# Shapes: bones are bands with round ends, and a ball is a band of no length.


def _clip(a: np.ndarray, b: np.ndarray, size: tuple[int, int], *, border: float) -> tuple[np.ndarray, np.ndarray]:
    """Segments from a to b (N, 2) cut to a frame (width, height) with a border, px; NaN where nothing is left.

    OpenCV's fixed-point coordinates overflow for points far outside.
    """
    along = np.where(np.abs(b - a) < 1e-9, 1e-9, b - a)
    enter, leave = (-border - a) / along, (np.array(size) + border - a) / along
    first = np.minimum(enter, leave).max(axis=1, keepdims=True).clip(min=0)
    last = np.maximum(enter, leave).min(axis=1, keepdims=True).clip(max=1)
    inside = first <= last
    return np.where(inside, a + first * along, np.nan), np.where(inside, a + last * along, np.nan)


@dataclass(frozen=True)
class _Parts:
    """What a skeleton's picture is made of, always in the same order: its bones, then a ball at each joint.

    start, end  (bones + J,)  indices of the joints between which a part lies, for a ball twice the same
    """

    bones: int
    start: np.ndarray
    end: np.ndarray

    @classmethod
    @lru_cache(maxsize=8)
    def of(cls, skeleton: Skeleton) -> "_Parts":
        parents, children = np.array(skeleton.edges, np.int64).reshape(-1, 2).T
        joints = np.arange(len(skeleton))
        return cls(len(parents), np.concatenate([parents, joints]), np.concatenate([children, joints]))

    def sized(self, bone: float, joint: float) -> np.ndarray:
        """One size (bones + J,) for all bones and one for all joints."""
        return np.repeat([bone, joint], [self.bones, len(self.end) - self.bones])


def _colours(skeleton: Skeleton, options: RenderOptions, *, middle: Colour) -> list[Colour]:
    """Colours of the parts: a joint's side's, and a bone has its child's."""
    by_side = {"left": options.left, "right": options.right, "middle": middle}
    return [by_side[skeleton.sides[joint]] for joint in _Parts.of(skeleton).end]


# The left panel


def _draw_2d(panel: Canvas, xy: np.ndarray, score: np.ndarray, *, skeleton: Skeleton, options: RenderOptions) -> None:
    """Draw a 2D skeleton, joints (J, 2) in pixels of the panel, with a dark rim."""
    width, height = panel.size
    seen = np.isfinite(xy).all(axis=1) & (score >= options.min_score)
    if not seen.any():
        return
    extent = np.ptp(xy[seen].clip(0, (width, height)), axis=0).max()
    # by the person's size, but the bones of one who bends should not shrink: most people reach the upper limit
    bone = float(np.clip(BONE_2D * extent, max(THINNEST_2D * height, 0.8), THICKEST_2D * height))
    rim = max(0.45 * bone, 0.7)

    parts = _Parts.of(skeleton)
    radius = parts.sized(bone, 1.5 * bone)
    xy = np.where(seen[:, None], xy, np.nan)
    a, b = _clip(xy[parts.start], xy[parts.end], (width, height), border=4 * bone)
    drawn = np.flatnonzero(np.isfinite(a).all(axis=1))
    panel.draw(
        np.concatenate([a, a]),
        np.concatenate([b, b]),
        np.concatenate([radius + rim, radius]),
        _paints_2d(skeleton, options),
        np.concatenate([drawn, len(a) + drawn]),
    )


@lru_cache(maxsize=8)
def _paints_2d(skeleton: Skeleton, options: RenderOptions) -> tuple[Colour, ...]:
    """Colours of the rims of all parts, and of the parts."""
    colours = _colours(skeleton, options, middle=options.middle_2d)
    return (*[options.outline_2d] * len(colours), *colours)


# The right panel


def _project(points: np.ndarray, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (..., 2) and depth (...), mm, of world points (..., 3); NaN where they are not before the camera."""
    seen = camera.to_camera(points)
    seen = np.where(seen[..., 2:] > NEAR_MM, seen, np.nan)
    return camera.intrinsics.project(seen), seen[..., 2]


@dataclass(frozen=True)
class _Solids:
    """The parts of bodies, N in all, world mm."""

    start: np.ndarray  # (N, 3)
    end: np.ndarray  # (N, 3)
    radius: np.ndarray  # (N,)

    @classmethod
    def of(cls, bodies: Sequence[np.ndarray], skeleton: Skeleton) -> "_Solids":
        """Of bodies (J, 3), one after the other."""
        parts, middles = _Parts.of(skeleton), np.array(bodies)
        radius = parts.sized(BONE_MM, JOINT_MM)
        if "head_top" in skeleton.joints:
            top = skeleton.index("head_top")
            down = middles[:, skeleton.parents[top]] - middles[:, top]
            length = np.linalg.norm(down, axis=1, keepdims=True)
            middles[:, top] += down * (HEAD_MM / np.maximum(length, HEAD_MM))
            radius[parts.bones + top] = HEAD_MM
        start, end = (middles[:, joints].reshape(-1, 3) for joints in (parts.start, parts.end))
        return cls(start, end, np.tile(radius, len(bodies)))


def _draw_bodies(
    view: Canvas, bodies: Sequence[np.ndarray], *, skeleton: Skeleton, camera: Camera, options: RenderOptions
) -> None:
    """Draw 3D skeletons (J, 3), world mm, far bones and balls first."""
    if not bodies:
        return
    width, height = view.size
    solids = _Solids.of(bodies, skeleton)
    (a, b), (depth_a, depth_b) = _project(np.stack([solids.start, solids.end]), camera)
    a, b = _clip(a, b, (width, height), border=float(height))
    depth = (depth_a + depth_b) / 2
    scale = camera.intrinsics.fx / depth
    radius = solids.radius * scale

    # the rim of a bone stops short of its joints, where bones belong together
    along = b - a
    length = np.linalg.norm(along, axis=1)
    inset = along * np.minimum(0.5, 2.2 * JOINT_MM * scale / np.maximum(length, 1e-6))[:, None]
    shift = -0.3 * radius[:, None]  # the light comes from the upper left
    starts = np.stack([a + inset, a, a + inset / 2 + shift], axis=1).reshape(-1, 2)
    ends = np.stack([b - inset, b, b - inset / 2 + shift], axis=1).reshape(-1, 2)
    wide = np.stack([radius + RIM * height, radius, 0.3 * radius], axis=1).reshape(-1)
    order = np.argsort(-depth)
    order = order[np.isfinite(a[order]).all(axis=1)]
    paints = _paints_3d(skeleton, options) * len(bodies)
    view.draw(starts, ends, wide, paints, (3 * order[:, None] + np.arange(3)).reshape(-1))


@lru_cache(maxsize=8)
def _paints_3d(skeleton: Skeleton, options: RenderOptions) -> tuple[Colour, ...]:
    """Of each part, colours of its rim, of itself, and of the light on it."""
    colours = _colours(skeleton, options, middle=options.middle)
    return tuple(paint for colour in colours for paint in (options.paper, colour, _lighter(colour)))


def _lighter(colour: Colour) -> Colour:
    blue, green, red = (round(part + 0.38 * (255 - part)) for part in colour)
    return blue, green, red


def _draw_shadow(view: Canvas, body: np.ndarray, *, skeleton: Skeleton, camera: Camera) -> None:
    """Darken the floor under a body (J, 3), world mm, as soft light from above does: most where it is touched."""
    width, height = view.size
    parts = _Parts.of(skeleton)
    start, end = body[parts.start[: parts.bones]], body[parts.end[: parts.bones]]
    above = (start[:, 2] + end[:, 2]).clip(0) / 2
    order = np.argsort(-above)
    ground = bands(start[:, :2], end[:, :2], np.full(parts.bones, SHADOW_MM))[order]
    outlines, depth = _project(np.concatenate([ground, np.zeros_like(ground[..., :1])], axis=-1), camera)
    drawn = (np.abs(outlines) < 4 * height).all(axis=(1, 2))
    if not drawn.any():
        return
    outlines, above = outlines[drawn], above[order][drawn]

    # the floor is seen aslant, so a round blur of it is a flat one in the view
    blur = SHADOW_MM * camera.intrinsics.fx / depth[drawn].mean() * np.array([1.0, -camera.rotation[2, 2]])
    blur = np.maximum(blur, 0.5 * SHADOW_SHRINK)
    low = np.maximum(outlines.min(axis=(0, 1)) - 3 * blur, 0).astype(int) // SHADOW_SHRINK
    high = np.minimum(outlines.max(axis=(0, 1)) + 4 * blur, (width, height)).astype(int) // SHADOW_SHRINK
    if (high <= low).any():
        return
    dark = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
    tones = np.rint(255 * SHADOW_STRENGTH * np.exp(-above / 600).clip(0.3)).astype(int).tolist()
    fill(dark, in_fixed_point((outlines + 0.5) / SHADOW_SHRINK - 0.5 - low), tones)
    across, along = (blur / SHADOW_SHRINK).tolist()
    dark = cv2.GaussianBlur(dark, (0, 0), sigmaX=across, sigmaY=along, borderType=cv2.BORDER_REPLICATE)
    (x0, y0), (x1, y1) = (low * SHADOW_SHRINK).tolist(), (high * SHADOW_SHRINK).tolist()
    view.stain(cv2.resize(dark, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR), (x0, y0), (0, 0, 0))


# Captions


def _letter(view: Canvas) -> float:
    """Height of a capital letter, px; also the unit in which captions are spaced."""
    return float(max(0.0185 * view.size[1], 9.0))


def _write(view: Canvas, text: str, x: float, options: RenderOptions) -> None:
    """Write a caption on the lowest line of the view, from x on."""
    view.write(text, (x, view.size[1] - 1.6 * _letter(view)), options.ink, capital=_letter(view))


def _draw_legend(view: Canvas, options: RenderOptions) -> None:
    """Which colour is which side of the person, in the lower left corner."""
    letter = _letter(view)
    line = np.array([[1.6 * letter, view.size[1] - 2.05 * letter], [7.6 * letter, view.size[1] - 2.05 * letter]])
    view.draw(line, line + (1.1 * letter, 0.0), np.full(2, 0.3 * letter), (options.left, options.right))
    for text, (x, _) in zip(("left", "right"), line, strict=True):
        _write(view, text, x + 2.0 * letter, options)


def _draw_name(view: Canvas, name: str, points: np.ndarray, options: RenderOptions) -> None:
    """A name above the highest of points (N, 2) of a panel, where there is one in it."""
    points = points[np.isfinite(points).all(-1)]
    if not name or not len(points):
        return
    x, y = points[points[:, 1].argmin()].tolist()
    if not (0 <= x < view.size[0] and -view.size[1] <= y < view.size[1]):
        return
    letter = _letter(view)
    width, y = 0.8 * letter * len(name), max(y - 1.2 * letter, 1.2 * letter)
    plate = np.array([[x - width / 2, y - 0.4 * letter]])
    view.draw(plate, plate + np.array([width, 0.0]), np.array([0.9 * letter]), (options.paper,))
    view.write(name, (x - width / 2, y), options.outline_2d, capital=letter)


def _draw_time(view: Canvas, time_s: float, options: RenderOptions) -> None:
    """The time in the lower right corner."""
    text = f"{time_s:.2f} s"
    _write(view, text, view.size[0] - (0.75 * len(text) + 2.0) * _letter(view), options)

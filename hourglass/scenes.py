"""Scenes for the finder to learn from, put together from photos of single people whose joints are labelled.

The background is a grid of photos, from one that fills the frame to many small ones. In each the person stays, and is
labelled, or is painted over. On it people are pasted, cut out along their limbs, of all sizes, cut off by the border
and in front of each other; and cut-outs of the same outlines that show no person, so that an outline alone says
nothing. All pixels are of the frame, an integer being a pixel centre.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import cv2
import numpy as np

from hourglass.augment import AugmentConfig, degraded, recoloured, similarity, warped
from pipeline.crop import Region, region_of
from pipeline.skeleton import LSP14

# Width of what hangs on a bone of LSP14, over the size of the body, by the joint at the bone's end.
THICKNESS = {"knee": 0.36, "ankle": 0.26, "elbow": 0.24, "wrist": 0.2, "hip": 0.45, "shoulder": 0.3, "head_top": 0.28}
ENDS = {"ankle": 0.34, "wrist": 0.28}  # diameter of hands and feet
HEAD = 0.42  # diameter of the head
PATCH = 1.2  # a cut-out's side over that of the person's region: limbs are thicker than joints
FEWEST_INSIDE = 4  # joints within the frame from which on a person is to be found
SEEN = 0.4  # share of the joints within the frame that others must leave uncovered


@dataclass(frozen=True)
class SceneConfig:
    """How scenes are composed. Fractions are of all scenes unless said otherwise."""

    people: int = 6  # at most so many are pasted
    smallest: float = 0.05  # side of a pasted person's region over the frame's longer side, at least
    largest: float = 1.4  # and at most
    beside: float = 0.4  # fraction of pasted people who stand close to another of like size
    decoys: float = 0.35  # pasted cut-outs without a person, in relation to pasted people
    grids: tuple[float, ...] = (0.4, 0.25, 0.2, 0.15)  # fractions with a background of 1, up to 2x2, 3x3, 4x4 photos
    painted_over: float = 0.6  # fraction of the background's photos whose person is painted over
    empty: float = 0.15  # fraction without anybody
    rotation_deg: float = 8.0  # standard deviation of a pasted person's turn
    augment: AugmentConfig = field(
        default_factory=lambda: AugmentConfig(colour=0.7, blurred=0.25, noisy=0.07, compressed=0.2)
    )


@dataclass(frozen=True)
class Model:
    """A photo of one person: image (H, W, 3) uint8 BGR, mask (H, W) uint8 of the body, labelled joints (J, 2), photo
    pixels.
    """

    image: np.ndarray
    mask: np.ndarray
    xy: np.ndarray

    @classmethod
    def of(cls, image: np.ndarray, xy: np.ndarray, labelled: np.ndarray) -> "Model":
        """From joints of LSP14 (14, 2), where labelled (14,)."""
        return cls(image, body_mask(image.shape[:2], xy, labelled), xy[labelled])

    @cached_property
    def region(self) -> Region:
        """The square around the person."""
        return region_of(self.xy)

    @cached_property
    def painted_over(self) -> np.ndarray:
        """The photo with the colours around the person spread over the person: image (H, W, 3)."""
        return painted_over(self.image, self.mask)


@dataclass(frozen=True)
class Scene:
    """A composed frame: image (H, W, 3) uint8 BGR; people (P, 3): x, y, side of their regions; labelled (P,) bool,
    False for those of whom too little is seen to be either found or not.
    """

    image: np.ndarray
    people: np.ndarray
    labelled: np.ndarray


@dataclass
class _Person:
    """Someone in a scene under way: joints (J, 2), the part of the frame where they may be seen, x0, y0, x1, y1 (pixels
    from x0 to x1 - 1), and which joints (J,) others cover.
    """

    xy: np.ndarray
    bounds: tuple[int, int, int, int]
    covered: np.ndarray

    def label(self) -> tuple[Region, bool] | None:
        """The region around what lies within the bounds and whether it is to be found; None if nothing does."""
        low, high = np.array(self.bounds[:2]), np.array(self.bounds[2:]) - 1
        clipped = self.xy.clip(low, high)
        if not np.all(np.ptp(clipped, axis=0) > 0):
            return None
        inside = np.all(self.xy == clipped, axis=1)
        enough = inside.sum() >= FEWEST_INSIDE and (inside & ~self.covered).sum() >= SEEN * inside.sum()
        return region_of(clipped), bool(enough)


def body_mask(shape: tuple[int, ...], xy: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """Mask (H, W) uint8 of a person with joints of LSP14 (14, 2), where labelled (14,): 255 on the body, soft edges."""
    mask = np.zeros(shape[:2], np.uint8)
    bones = [(a, b) for a, b in LSP14.edges if labelled[a] and labelled[b]]
    size = max([float(np.linalg.norm(xy[a] - xy[b])) for a, b in bones], default=8.0)

    def disc(point: np.ndarray, diameter: float) -> None:
        cv2.circle(mask, _whole(point), max(round(diameter * size / 2), 1), 255, -1)

    for parent, child in bones:
        width = THICKNESS[LSP14.joints[child].removeprefix("l_").removeprefix("r_")]
        cv2.line(mask, _whole(xy[parent]), _whole(xy[child]), 255, max(round(width * size), 1))
    for joint in np.flatnonzero(labelled):
        end = LSP14.joints[joint].removeprefix("l_").removeprefix("r_")
        if end in ENDS:
            disc(xy[joint], ENDS[end])
    head, neck = LSP14.indices(("head_top", "neck"))
    if labelled[head] and labelled[neck]:
        disc(0.6 * xy[head] + 0.4 * xy[neck], HEAD)
    torso = LSP14.indices(("r_shoulder", "l_shoulder", "l_hip", "r_hip"))
    if labelled[torso].all():
        cv2.fillConvexPoly(mask, cv2.convexHull(np.array([_whole(xy[joint]) for joint in torso])), 255)
    return cv2.GaussianBlur(mask, (0, 0), max(0.03 * size, 0.7))


def _whole(point: np.ndarray) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))


def painted_over(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The image (H, W, 3) with the colours around the mask (H, W) spread over it: normalised convolutions (Knutsson and
    Westin 1993) with a narrow and, where that finds nothing, a wide window, at a quarter of the size.
    """
    height, width = mask.shape
    small = max(width // 4, 1), max(height // 4, 1)
    mask = cv2.dilate(mask, np.ones((7, 7), np.uint8))
    free = cv2.resize(mask, small, interpolation=cv2.INTER_AREA) == 0
    weight = free.astype(np.float32)[..., None]
    weighted = np.concatenate([cv2.resize(image, small, interpolation=cv2.INTER_AREA) * weight, weight], -1)
    total = cv2.blur(weighted, (9, 9)) + 0.02 * cv2.blur(weighted, (max(small) | 1,) * 2)
    fill = (total[..., :3] / (total[..., 3:] + 1e-6) + 0.5).clip(0, 255).astype(np.uint8)
    return _blended(cv2.resize(fill, (width, height)), image, mask)


def _blended(over: np.ndarray, under: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`over` where the mask (H, W) uint8 is 255, `under` where it is 0; images (H, W, 3) uint8."""
    part = mask.astype(np.float32) * (1 / 255)
    return cv2.blendLinear(over, under, part, 1 - part)


class Composer:
    """Puts one scene together in a frame of size (width, height), of some of these photos."""

    def __init__(
        self, rng: np.random.Generator, size: tuple[int, int], models: Sequence[Model], *, config: SceneConfig
    ) -> None:
        self.rng, self.models, self.config = rng, models, config
        self.width, self.height = size
        self.image = np.zeros((self.height, self.width, 3), np.uint8)
        self.people: list[_Person] = []

    def scene(self) -> Scene:
        """The whole of it."""
        rng, config = self.rng, self.config
        empty = rng.random() < config.empty
        self._background(keep=0.0 if empty else 1 - config.painted_over)
        count = 0 if empty else int(rng.integers(config.people + 1))
        sides = np.exp(rng.uniform(np.log(config.smallest), np.log(config.largest), count)) * max(self.image.shape)
        if rng.random() < 0.7:
            sides = np.sort(sides)  # who is near stands in front
        for side in sides:
            self._paste(self.draw(), float(side), decoy=False)
        for _ in range(rng.binomial(max(count, 2), config.decoys)):
            side = np.exp(rng.uniform(np.log(config.smallest), np.log(config.largest / 3))) * max(self.image.shape)
            self._paste(self.draw(), float(side), decoy=True)
        image = degraded(rng, recoloured(rng, self.image, config.augment.colour), config.augment)
        labels = [label for person in self.people if (label := person.label()) is not None]
        regions = [(region.x, region.y, region.side) for region, _ in labels]
        people = np.array(regions, np.float32).reshape(-1, 3)
        return Scene(image, people, np.array([found for _, found in labels], bool))

    def draw(self) -> Model:
        """One of the photos."""
        return self.models[int(self.rng.integers(len(self.models)))]

    def _background(self, *, keep: float) -> None:
        most = int(self.rng.choice(len(self.config.grids), p=self.config.grids)) + 1
        rows, columns = (1, 1) if most == 1 else self.rng.integers(1, most + 1, 2)
        ys, xs = _cuts(self.rng, self.height, rows), _cuts(self.rng, self.width, columns)
        for top, bottom in pairwise(ys):
            for left, right in pairwise(xs):
                self._fill((left, top, right, bottom), keep=keep)

    def _fill(self, cell: tuple[int, int, int, int], *, keep: float) -> None:
        """A photo into a cell x0, y0, x1, y1 of the background, covering it or at times with a border around it."""
        rng, model = self.rng, self.draw()
        kept = rng.random() < keep
        photo = model.image if kept else model.painted_over
        size = np.array([cell[2] - cell[0], cell[3] - cell[1]])
        own = np.array(photo.shape[1::-1])
        covering = rng.random() < 0.85
        factor = (size / own).max() * np.exp(rng.uniform(0, 0.5)) if covering else (size / own).min()
        slack = size - own * factor  # negative where the photo is larger than the cell
        shift = rng.uniform(np.minimum(slack, 0), np.maximum(slack, 0))
        mirrored = rng.random() < 0.5
        matrix = np.array([[factor, 0, shift[0] + (factor - 1) / 2], [0, factor, shift[1] + (factor - 1) / 2]])
        if mirrored:
            matrix = np.array([[-1, 0, size[0] - 1], [0, 1, 0]]) @ np.vstack([matrix, (0, 0, 1)])
        border = cv2.BORDER_REPLICATE if rng.random() < 0.5 else cv2.BORDER_CONSTANT
        picture = warped(photo, matrix, (int(size[0]), int(size[1])), shrunk=1 / factor, border=border)
        self.image[cell[1] : cell[3], cell[0] : cell[2]] = picture
        if kept:
            xy = model.xy @ matrix[:, :2].T + matrix[:, 2] + cell[:2]
            photo_box = np.array([(-0.5, -0.5), own - 0.5]) @ matrix[:, :2].T + matrix[:, 2] + cell[:2]
            low, high = np.ceil(photo_box.min(0)), np.ceil(photo_box.max(0))
            x0, y0 = np.maximum(low, cell[:2]).astype(int)
            x1, y1 = np.minimum(high, cell[2:]).astype(int)
            self.people.append(_Person(xy, (x0, y0, x1, y1), np.zeros(len(xy), bool)))

    def _paste(self, model: Model, side: float, *, decoy: bool) -> None:
        """A cut-out into the frame, its person's region of that side."""
        rng, region, size = self.rng, model.region, max(round(side * PATCH), 4)
        matrix = similarity(
            np.array([region.x, region.y]),
            region.side * PATCH,
            size,
            degrees=float(rng.normal(0, self.config.rotation_deg)),
            mirrored=bool(rng.random() < 0.5),
        )
        corner = np.round(self._place(side) - size / 2).astype(int)
        x0, y0 = np.maximum(corner, 0)
        x1, y1 = np.minimum(corner + size, (self.width, self.height))
        if x1 <= x0 or y1 <= y0:
            return
        matrix[:, 2] += corner - (x0, y0)  # of the part within the frame only
        photo, part = self.draw() if decoy else model, (int(x1 - x0), int(y1 - y0))
        shrunk = region.side * PATCH / size
        if decoy:
            picture = cv2.resize(photo.painted_over, (size, size))[y0 - corner[1] :, x0 - corner[0] :]
            picture = np.ascontiguousarray(picture[: part[1], : part[0]])
        else:
            picture = warped(photo.image, matrix, part, shrunk=shrunk)
        mask = warped(model.mask, matrix, part, shrunk=shrunk)
        if rng.random() < 0.5:
            picture = recoloured(rng, picture, 0.4)
        self.image[y0:y1, x0:x1] = _blended(picture, self.image[y0:y1, x0:x1], mask)
        for person in self.people:
            person.covered |= _within(person.xy - (x0, y0), mask)
        if not decoy:
            xy = model.xy @ matrix[:, :2].T + matrix[:, 2] + (x0, y0)
            bounds = (0, 0, self.width, self.height)
            self.people.append(_Person(xy, bounds, np.zeros(len(xy), bool)))

    def _place(self, side: float) -> np.ndarray:
        """Where the middle of someone of that size goes: beside another of like size, or anywhere."""
        rng, frame = self.rng, np.array([self.width, self.height])
        others = [region_of(person.xy) for person in self.people]
        alike = [other for other in others if abs(np.log(side / other.side)) < 0.5]
        if alike and rng.random() < self.config.beside:
            other = alike[rng.integers(len(alike))]
            step = rng.uniform(0.15, 0.7) * side * rng.choice((-1, 1))
            return np.array([other.x + step, other.y + rng.normal(0, 0.06) * side])
        beyond = 0.15 * side
        return rng.uniform(-beyond, frame + beyond)


def _cuts(rng: np.random.Generator, length: int, parts: int) -> np.ndarray:
    """Ends of so many parts of a length, not quite equal: (parts + 1,) int."""
    inner = np.arange(1, parts) + rng.uniform(-0.2, 0.2, parts - 1)
    return np.array([0, *(inner * length / parts).astype(int), length])


def _within(points: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Which points (J, 2) fall on a mask (H, W) where it hides more than half: bool (J,)."""
    height, width = mask.shape
    at = np.rint(points).astype(int)
    inside = np.all((at >= 0) & (at < (width, height)), axis=1)
    hidden = np.zeros(len(points), bool)
    hidden[inside] = mask[at[inside, 1], at[inside, 0]] > 127
    return hidden

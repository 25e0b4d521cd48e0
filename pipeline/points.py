"""2D poses from other detectors: AlphaPose, MMPose, OpenPose, MediaPipe and what else writes such files.

`pipeline.points_layouts` describes the files; here their people are followed through the clip.

Frames. A frame's number is the one that the file or a file's name has. Numbers are indices from 0 as they stand, unless
the smallest is 1: then they count from 1. Frames may be missing.

People. They are told apart by the file's own numbers (track_id, idx, person_id) if all have one and not all are 0, as
AlphaPose writes them without tracking; otherwise by the nearest pose, see `follow`. Where the file has a person twice
in a frame, the one with the higher score is kept.

Keypoints. Without confidence, or at (0, 0) or no number at all, a keypoint is missing: NaN with score 0. Scores are
clipped to 0 to 1, since peaks of heatmaps may be a little higher. If more than half of a file's are above 1, it has
another scale (COCO's visibility to 2, percent, ...) and they are divided by the largest.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.errors import DataError, InputError
from pipeline.points_layouts import READERS, Sighting
from pipeline.skeleton import H36M16, Skeleton, convert, convert_scores

LAYOUTS = tuple(READERS)
NORMALISED = ("blazepose",)  # layouts with positions from 0 to 1 over the picture

NEAR = 0.5  # of the body's extent: further away in the next frame is another person
FORGET = 30  # frames of the file after which a person who comes back is a new one
CROWD = 200  # people in one frame; more are not one clip's
MAX_PX = 1e6  # no picture is larger


@dataclass(frozen=True)
class PersonPoints:
    """One person of a file. Row t is one frame in which the person was found.

    id      1 or more: the file's own number (all one higher if the file counts people from 0) or one given here
    frame   (T,) int64         index of the frame in the clip, strictly increasing
    xy      (T, J, 2) float32  pixels, x right and y down, an integer is a pixel centre; NaN where missing
    score   (T, J) float32     confidence, 0 to 1; 0 where and only where missing
    """

    id: int
    skeleton: Skeleton
    frame: np.ndarray
    xy: np.ndarray
    score: np.ndarray

    def __post_init__(self) -> None:
        shape = (len(self.frame), len(self.skeleton))
        if self.xy.shape != (*shape, 2) or self.score.shape != shape:
            raise ValueError(f"person {self.id}: xy {self.xy.shape}, score {self.score.shape}, expected {shape}")
        if np.any(np.diff(self.frame) <= 0):
            raise ValueError(f"person {self.id}: frame indices must increase")

    def __len__(self) -> int:
        return len(self.frame)


def read_points(path: Path, *, layout: str, size: tuple[int, int] | None, fps: float | None) -> list[PersonPoints]:
    """The people of a file or folder, the one who is seen longest and largest first; at least one.

    `layout` is one of LAYOUTS. `size` (width, height) of the picture is needed by 'blazepose', and `fps`, the clip's
    frame rate, where frames of that have times instead of numbers. The keypoints stay in the layout's own skeleton.

    Raises InputError if the file cannot be read or something else is needed, DataError if it is not in the layout, is
    larger than `pipeline.limits` allows or has nobody.
    """
    if layout not in READERS:
        raise InputError(f"unknown --format {layout!r}; known: {', '.join(LAYOUTS)}")
    if layout in NORMALISED and size is None:
        raise InputError(f"{path}: --format {layout} has positions from 0 to 1; give the picture's size too")
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    every_frame, sightings = _read(path, layout, fps)
    sightings, xy, score = _known(sightings, path, normalised=layout in NORMALISED)
    if layout in NORMALISED:
        xy = xy * np.array(size, np.float32) - np.float32(0.5)  # the picture's edge is half a pixel before pixel 0
    first = int(every_frame[0] == 1)
    frame = np.array([sighting.number for sighting in sightings]) - first
    ids = _own_ids(sightings)
    if ids is None:
        ids = follow(frame, xy, every_frame=every_frame - first)
    weight = np.array([sighting.weight for sighting in sightings])
    order = np.lexsort((-weight, frame, ids))  # person by person, frame by frame, the surest first
    again = (np.diff(ids[order], prepend=0) == 0) & (np.diff(frame[order], prepend=-1) == 0)
    order = order[~again]
    people = [
        PersonPoints(int(ids[rows[0]]), sightings[0].skeleton, frame[rows], xy[rows], score[rows])
        for rows in np.split(order, np.flatnonzero(np.diff(ids[order])) + 1)
    ]
    return sorted(people, key=lambda one: (-float(_extent(one.xy).sum()), one.id))


def to_liftable(points: PersonPoints) -> PersonPoints:
    """The same person with the joints that a lifter takes, H36M16.

    Joints that the layout lacks are derived by `pipeline.skeleton.DERIVED_JOINTS`, as the thorax from the shoulders,
    and are missing where a part of them is. Only Halpe has the top of the head. No mean of what the others have is near
    it however the head turns, so there `head_top` is missing in all frames: NaN with score 0, for lifters: not seen.
    """
    skeleton, xy, score = points.skeleton, points.xy, points.score
    if "head_top" not in skeleton.joints:
        skeleton = Skeleton(skeleton.name, (*skeleton.joints, "head_top"), (*skeleton.parents, -1))
        xy = np.pad(xy, ((0, 0), (0, 1), (0, 0)), constant_values=np.nan)
        score = np.pad(score, ((0, 0), (0, 1)))
    xy, score = convert(xy, skeleton, H36M16), convert_scores(score, skeleton, H36M16)
    return replace(points, skeleton=H36M16, xy=xy.astype(np.float32, copy=False), score=score)


def follow(frame: np.ndarray, xy: np.ndarray, *, every_frame: np.ndarray) -> np.ndarray:
    """Numbers from 1 (N,) for the people of sightings: frame (N,), xy (N, J, 2) with NaN where missing.

    From frame to frame, of all pairs of a person seen before and one seen now the nearest is joined, then the next
    nearest of those left, and so on. The distance is the mean over the joints that both have, as a share of the larger
    of the two bodies' extents. Pairs further apart than NEAR are not joined, nor is anybody to a person last seen more
    than FORGET frames ago, counted among `every_frame` (F,) of the file, sorted. Who is not joined is new.
    """
    ids = np.zeros(len(frame), np.int64)
    place = np.searchsorted(every_frame, frame)
    extent = np.maximum(_extent(xy), 1.0)
    order = np.argsort(frame, kind="stable")
    people = 0
    seen: list[int] = []  # the last row of each person who is not forgotten
    for rows in np.split(order, np.flatnonzero(np.diff(frame[order])) + 1):
        seen = [row for row in seen if place[rows[0]] - place[row] <= FORGET]
        for before, now in _nearest_pairs(xy, extent, seen=seen, rows=rows):
            ids[now] = ids[before]
            seen.remove(before)
        new = rows[ids[rows] == 0]
        ids[new] = people + 1 + np.arange(len(new))
        people += len(new)
        seen += rows.tolist()
    return ids


def _nearest_pairs(xy: np.ndarray, extent: np.ndarray, *, seen: list[int], rows: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (row of `seen`, row of `rows`), the nearest first, each row once at most, none further apart than NEAR."""
    distance = np.full((len(seen), len(rows)), np.inf)
    for line, before in enumerate(seen):
        apart = np.linalg.norm(xy[rows] - xy[before], axis=-1)
        both = np.isfinite(apart)
        mean = np.where(both, apart, 0).sum(1) / np.maximum(both.sum(1), 1)
        distance[line] = np.where(both.any(1), mean / np.maximum(extent[rows], extent[before]), np.inf)
    pairs: list[tuple[int, int]] = []
    while distance.size and (least := distance.min()) <= NEAR:
        line, column = np.argwhere(distance == least)[0]
        pairs.append((seen[line], int(rows[column])))
        distance[line], distance[:, column] = np.inf, np.inf
    return pairs


def _extent(xy: np.ndarray) -> np.ndarray:
    """The longer side (N,) of the boxes around the known joints of poses (N, J, 2)."""
    return (np.nanmax(xy, axis=1) - np.nanmin(xy, axis=1)).max(-1)


def _read(path: Path, layout: str, fps: float | None) -> tuple[np.ndarray, list[Sighting]]:
    """The numbers (F,) of all frames of the file, sorted, and everybody in them; DataError if there is nobody."""
    counts: dict[int, int] = {}
    sightings: list[Sighting] = []
    for number, people in READERS[layout](path, layout, fps):
        counts[number] = counts.get(number, 0) + len(people)
        sightings += people
        if counts[number] > CROWD:
            raise DataError(f"{path}: more than {CROWD} people in frame {number}; give the poses of one clip")
    if not sightings:
        raise DataError(f"{path}: has no people; does --format {layout} fit the file?")
    names = sorted({sighting.skeleton.name for sighting in sightings})
    if len(names) > 1:
        raise DataError(f"{path}: has keypoints of {' and '.join(names)}; give the poses of one clip by one model")
    return np.array(sorted(counts)), sightings


def _known(sightings: list[Sighting], path: Path, *, normalised: bool) -> tuple[list[Sighting], np.ndarray, np.ndarray]:
    """The sightings with a keypoint that is known, and all their xy (N, J, 2) and score (N, J), missing ones marked.

    Raises DataError if nobody is left, or the positions are not in the unit of the layout.
    """
    xy = np.stack([sighting.xy for sighting in sightings])
    score = np.stack([sighting.score for sighting in sightings])
    there = np.isfinite(xy).all(-1) & (xy != 0).any(-1) & np.isfinite(score) & (score > 0)
    if there.any() and np.mean(score[there] > 1) > 0.5:
        score = score / score[there].max()
    score = np.where(there, np.clip(score, 0, 1), 0).astype(np.float32)
    there &= score > 0
    kept = there.any(1)
    if not kept.any():
        raise DataError(f"{path}: all keypoints are missing; write the file anew, with confidences above 0")
    _check_unit(np.abs(xy[there]), path, normalised=normalised)
    xy = np.where(there[..., None], xy, np.nan).astype(np.float32)
    return [sightings[row] for row in np.flatnonzero(kept)], xy[kept], score[kept]


def _check_unit(sizes: np.ndarray, path: Path, *, normalised: bool) -> None:
    """DataError if positions, without their sign (K, 2), are in another unit than the layout's."""
    if normalised and np.mean(sizes > 2) > 0.5:
        raise DataError(f"{path}: positions go up to {sizes.max():.4g}; write them from 0 to 1 over the picture")
    if not normalised and sizes.max() <= 2:
        raise DataError(f"{path}: positions go only up to {sizes.max():.4g}; write them in pixels of the picture")
    if sizes.max() > MAX_PX:
        raise DataError(f"{path}: a position of {sizes.max():.4g} is in no picture; write the file anew")


def _own_ids(sightings: list[Sighting]) -> np.ndarray | None:
    """The file's own numbers of the people (N,), from 1; None if it has none that say anything."""
    numbers = [sighting.person for sighting in sightings]
    known = [number for number in numbers if number is not None]
    if len(known) < len(numbers) or not any(known):
        return None
    return np.array(known, np.int64) + (min(known) == 0)

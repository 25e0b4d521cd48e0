"""From what a file of labels says to a set that can be trained on: single damaged people are left out and counted.

A layout that is not what its kind promises is an error. A few damaged photos among thousands are not: they are left
out, and one line of the log says how many and why.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from hourglass.photofile import is_there, photo_sizes
from hourglass.photos import PhotoSet
from pipeline.errors import DataError

logger = logging.getLogger(__name__)

MAX_DAMAGED = 0.05  # part of the people; with more, the set is another layout or not fully unpacked
ABSURD = 1e6  # pixels; no photo is so large


@dataclass
class Faults:
    """What was found wrong in a set."""

    people: dict[str, tuple[int, str]] = field(default_factory=dict)  # problem -> how many are left out, the first one
    joints: dict[str, int] = field(default_factory=dict)  # problem -> how many are taken as unlabelled

    @property
    def left_out(self) -> int:
        """Number of people that are left out."""
        return sum(count for count, _ in self.people.values())

    def add(self, problem: str, names: Sequence[str]) -> None:
        """Leave out the people of these photos."""
        if names:
            count, first = self.people.get(problem, (0, names[0]))
            self.people[problem] = (count + len(names), first)

    def add_joints(self, problem: str, count: int) -> None:
        """Take so many joints as unlabelled."""
        if count:
            self.joints[problem] = self.joints.get(problem, 0) + count

    def __str__(self) -> str:
        """The people by problem."""
        return ", ".join(f"{n:,} {what} (first: {first})" for what, (n, first) in self.people.items())


def photo_folder(names: Sequence[str], places: Sequence[Path], *, source: Path) -> Path:
    """The one of these folders that holds most of the named photos; DataError naming `source` if none holds any."""
    sample = names[:: len(names) // 100 + 1]
    found = [sum(is_there(place / name) for name in sample) for place in places]
    if names and not any(found):
        raise DataError(f"{source}: none of its photos, such as {names[0]}, is there; unpack them to {places[0]}")
    return places[int(np.argmax(found))]


def cleaned(photos: PhotoSet, faults: Faults, *, source: Path) -> PhotoSet:
    """The set without what is damaged, its joints (N, J, 2) finite float32 on or near their photos.

    People are left out whose photo is missing, cut short or no photo, and those who lose all their joints. A joint
    that is no number, or farther outside the photo than the photo is wide or high, becomes unlabelled. `faults` holds
    who has been left out already. All of it is one warning in the log.

    Raises DataError naming `source` if more than MAX_DAMAGED of the people are left out, or nobody is left.
    """
    total = len(photos) + faults.left_out
    sizes = photo_sizes(photos.files)
    there = np.isfinite(sizes).all(1)
    gone = [photos.files[row] for row in np.flatnonzero(~there)]
    faults.add("without a photo", [path.name for path in gone if not is_there(path)])
    faults.add("with a damaged photo", [path.name for path in gone if is_there(path)])
    photos = _with_joints(photos.select(there), sizes[there], faults)
    if faults.left_out > MAX_DAMAGED * total:
        raise DataError(f"{source}: {faults.left_out:,} of {total:,} people cannot be used: {faults}; unpack it again")
    if not len(photos):
        raise DataError(f"{source}: labels nobody; give a file of labels that has people in it")
    _report(photos.name, faults, total)
    return photos


def _report(name: str, faults: Faults, total: int) -> None:
    """What was found wrong in a set of `total` people, in one line of the log; nothing if all is well."""
    parts = [f"{faults.left_out:,} of {total:,} people left out: {faults}"] if faults.people else []
    if faults.joints:
        listed = ", ".join(f"{n:,} {what}" for what, n in faults.joints.items())
        parts.append(f"joints taken as unlabelled: {listed}")
    if parts:
        logger.warning("%s: %s", name, "; ".join(parts))


def _with_joints(photos: PhotoSet, sizes: np.ndarray, faults: Faults) -> PhotoSet:
    """The set without joints that cannot be where they are said to be, and without people who had no others."""
    absurd = ~(np.abs(photos.xy) < ABSURD).all(-1)  # so that NaN is, too
    size = sizes[:, None]
    # The photo reaches from -0.5 to size - 0.5.
    outside = (photos.xy < -0.5 - size) | (photos.xy > 2 * size - 0.5)
    far = outside.any(-1) & ~absurd
    faults.add_joints("not finite", int((photos.labelled & absurd).sum()))
    faults.add_joints("far outside the photo", int((photos.labelled & far).sum()))
    labelled = photos.labelled & ~absurd & ~far
    lost = photos.labelled.any(1) & ~labelled.any(1)
    faults.add("without a joint on the photo", [photos.files[row].name for row in np.flatnonzero(lost)])
    xy = np.where(absurd[..., None], 0, photos.xy).astype(np.float32)
    return replace(photos, xy=xy, labelled=labelled, visible=photos.visible & labelled).select(~lost)

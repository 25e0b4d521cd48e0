"""A set of labelled photos in memory: where the files are, and what is known about the person in each."""

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hourglass.photofile import read_photo
from pipeline.crop import Region, region_of
from pipeline.errors import InputError
from pipeline.skeleton import Skeleton, conversion_matrix


@dataclass(frozen=True)
class PhotoSet:
    """Photos of one person each; a photo of several people is in the set once for each of them.

    name      kind of the set, for reports
    files     N paths
    xy        (N, J, 2) float32, pixels of the photo as stored, an integer being a pixel centre
    labelled  (N, J) bool: the coordinates mean something
    visible   (N, J) bool: labelled, and not hidden
    regions   (N, 3) float64: x, y, side in photo pixels of the square the detector is to look at, by the set's own
              convention; NaN: around the labelled joints
    head      (N,) float64: size of the head that PCKh divides by, photo pixels; NaN where the set does not tell
    weight    how often a photo is drawn in training, relative to other sets'
    """

    name: str
    skeleton: Skeleton
    files: list[Path]
    xy: np.ndarray
    labelled: np.ndarray
    visible: np.ndarray
    regions: np.ndarray
    head: np.ndarray
    weight: float = 1.0

    def __len__(self) -> int:
        return len(self.files)

    def select(self, rows: np.ndarray) -> "PhotoSet":
        """The photos at these indices (M,) int, or where a mask (N,) bool is set."""
        rows = np.arange(len(self))[rows]
        arrays = ("xy", "labelled", "visible", "regions", "head")
        chosen = {name: getattr(self, name)[rows] for name in arrays}
        return replace(self, files=[self.files[row] for row in rows.tolist()], **chosen)

    def region(self, row: int) -> Region:
        """The square of photo `row` that the detector is to look at; at least one of its joints must be labelled."""
        if np.isfinite(self.regions[row]).all():
            return Region(*self.regions[row].tolist())
        return region_of(self.xy[row][self.labelled[row]])

    def read(self, row: int) -> np.ndarray:
        """Photo `row` as (H, W, 3) uint8 BGR; DataError if it is missing or damaged."""
        return read_photo(self.files[row])

    def to_skeleton(self, skeleton: Skeleton) -> "PhotoSet":
        """The same photos labelled with the joints of another skeleton, by name.

        A joint that this set lacks is derived as `pipeline.skeleton` says where all it is made of is labelled, and
        visible where all that is visible; else it is unlabelled, at (0, 0).
        """
        if skeleton == self.skeleton:
            return self
        weights = _weights(self.skeleton, skeleton)
        used = weights > 0
        # (N, 1, J) against (J', J): what a joint is not made of need not be labelled
        labelled: np.ndarray = np.all(self.labelled[:, None] | ~used, axis=-1) & used.any(-1)
        visible: np.ndarray = np.all(self.visible[:, None] | ~used, axis=-1) & labelled
        known = np.where(self.labelled[..., None], self.xy, 0)
        xy = np.where(labelled[..., None], weights @ known, 0).astype(np.float32)
        return replace(self, skeleton=skeleton, xy=xy, labelled=labelled, visible=visible)


def _weights(source: Skeleton, target: Skeleton) -> np.ndarray:
    """`conversion_matrix` (J_target, J_source) with rows of 0 for joints that cannot be had."""
    weights = np.zeros((len(target), len(source)))
    for row, joint in enumerate(target.joints):
        with suppress(InputError):
            weights[row] = conversion_matrix(source, Skeleton(joint, (joint,), (-1,)))[0]
    return weights

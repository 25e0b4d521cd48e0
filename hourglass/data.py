"""Labelled photos for the detector: readers of the published layouts, and crops drawn from them.

A reader turns `KIND:PATH` into a `PhotoSet`. Joints that a photo does not label carry no loss.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from scipy.io import loadmat

from pipeline.crop import Region, region_of
from pipeline.errors import DataError
from pipeline.skeleton import LSP14, Skeleton


@dataclass(frozen=True)
class PhotoSet:
    """Photos of one person each.

    name      kind of the set, for reports
    files     N paths
    xy        (N, J, 2) float32, pixels of the photo, an integer being a pixel centre
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
        """The photos at these indices."""
        arrays = ("xy", "labelled", "visible", "regions", "head")
        chosen = {name: getattr(self, name)[rows] for name in arrays}
        return replace(self, files=[self.files[row] for row in rows], **chosen)

    def region(self, row: int) -> Region:
        """The square of photo `row` that the detector is to look at; at least one of its joints must be labelled."""
        if np.isfinite(self.regions[row]).all():
            return Region(*self.regions[row].tolist())
        return region_of(self.xy[row][self.labelled[row]])

    def read(self, row: int) -> np.ndarray:
        """Photo `row` as (H, W, 3) uint8 BGR; DataError if it is missing or damaged."""
        image = cv2.imread(str(self.files[row]), cv2.IMREAD_COLOR)
        if image is None:
            raise DataError(f"{self.files[row]}: missing or not an image; unpack the data set again")
        return image


def _joints_mat(folder: Path) -> np.ndarray:
    path = folder / "joints.mat"
    if not path.is_file():
        raise DataError(f"{folder}: expected joints.mat and images/ (the layout of LSP); joints.mat is missing")
    try:
        return np.asarray(loadmat(path)["joints"], np.float64)
    except Exception as error:  # scipy raises many kinds for a damaged or foreign file
        raise DataError(f"{path}: not a MATLAB file with an array 'joints' ({error}); unpack it again") from error


def _lsp_set(name: str, folder: Path, joints: np.ndarray, visible: np.ndarray, labelled: np.ndarray) -> PhotoSet:
    count = len(joints)
    files = sorted((folder / "images").glob("im*.jpg"))
    if len(files) != count:
        raise DataError(f"{folder}: joints.mat holds {count} poses, images/ holds {len(files)} photos im*.jpg")
    # MATLAB's first pixel has its centre at 1.
    xy, nothing = (joints - 1).astype(np.float32), np.full(count, np.nan)
    regions = np.full((count, 3), np.nan)
    return PhotoSet(name, LSP14, files, xy, labelled, labelled & visible, regions=regions, head=nothing)


def read_lsp(folder: Path) -> PhotoSet:
    """Leeds Sports Pose (Johnson and Everingham 2010): joints.mat (3, 14, N), images/im0001.jpg ...

    The third row is 1 for hidden joints, whatever its README says; all joints are labelled. A folder that holds
    only a leading part of the photos, as the training half does, must hold the same part of the joints.
    """
    joints = _joints_mat(folder)
    if joints.ndim != 3 or joints.shape[:2] != (3, 14):
        raise DataError(f"{folder}/joints.mat: expected shape (3, 14, N) for LSP, got {joints.shape}")
    xyv = joints.transpose(2, 1, 0)
    everything = np.ones(xyv.shape[:2], bool)
    return _lsp_set("lsp", folder, xyv[..., :2], xyv[..., 2] == 0, everything)


def read_lspet(folder: Path) -> PhotoSet:
    """Leeds Sports Pose Extended (Johnson and Everingham 2011): joints.mat (14, 3, N); third column 0 = unlabelled."""
    joints = _joints_mat(folder)
    if joints.ndim != 3 or joints.shape[:2] != (14, 3):
        raise DataError(f"{folder}/joints.mat: expected shape (14, 3, N) for LSP-extended, got {joints.shape}")
    xyv = joints.transpose(2, 0, 1)
    labelled = xyv[..., 2] > 0
    return _lsp_set("lspet", folder, xyv[..., :2], labelled, labelled)


READERS: dict[str, Callable[[Path], PhotoSet]] = {"lsp": read_lsp, "lspet": read_lspet}


def read_photos(spec: str) -> PhotoSet:
    """The set named by KIND:PATH, for instance lspet:data/lspet; DataError if the kind or the layout is wrong."""
    kind, colon, folder = spec.partition(":")
    if not colon or kind not in READERS:
        raise DataError(f"{spec}: expected KIND:PATH with KIND one of {', '.join(READERS)}")
    if not Path(folder).is_dir():
        raise DataError(f"{folder}: no such folder")
    return READERS[kind](Path(folder))


def hold_back(photos: PhotoSet, count: int, *, seed: int) -> tuple[PhotoSet, PhotoSet]:
    """Split into (the rest, `count` photos chosen by the seed), both in their original order."""
    if not 0 <= count < len(photos):
        raise DataError(f"{photos.name}: cannot hold back {count} of {len(photos)} photos")
    order = np.random.default_rng(seed).permutation(len(photos))
    return photos.select(np.sort(order[count:])), photos.select(np.sort(order[:count]))


def fingerprint(photos: PhotoSet) -> str:
    """SHA-256 over file names and labels, to record what a network was trained on."""
    total = hashlib.sha256("\n".join(path.name for path in photos.files).encode())
    for array in (photos.xy, photos.labelled):
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()

"""Labelled photos for the detector: sets by name, and what training and evaluation do with them as a whole.

`KIND:PATH` names a set and `KIND:PATH@WEIGHT` says how often it is drawn. Joints that a photo does not label carry
no loss.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from hourglass.photos import PhotoSet
from hourglass.readers import read_coco, read_lsp, read_lspet, read_mpii
from pipeline.errors import DataError

READERS: dict[str, Callable[[Path], PhotoSet]] = {
    "lsp": read_lsp,
    "lspet": read_lspet,
    "mpii": read_mpii,
    "mpii-train": partial(read_mpii, part="train"),
    "mpii-valid": partial(read_mpii, part="valid"),
    "coco": read_coco,
}


def split_spec(spec: str) -> tuple[str, Path, float]:
    """(kind, path, weight) of KIND:PATH or KIND:PATH@WEIGHT; DataError if the kind or the weight is wrong.

    An @ followed by anything but a number belongs to the path; a path that ends in @ and a number needs a weight.
    """
    kind, colon, rest = spec.partition(":")
    if not colon or kind not in READERS:
        raise DataError(f"{spec}: expected KIND:PATH with KIND one of {', '.join(READERS)}")
    path, _, number = rest.rpartition("@")
    try:
        weight = float(number) if path else None
    except ValueError:
        weight = None
    if weight is None:
        return kind, Path(rest), 1.0
    if not (math.isfinite(weight) and weight > 0):
        raise DataError(f"{spec}: the weight behind the @ must be a number above 0, for instance {kind}:{path}@2")
    return kind, Path(path), weight


def read_photos(spec: str) -> PhotoSet:
    """The set named by KIND:PATH[@WEIGHT], for instance lspet:data/lspet; DataError if the kind or the layout is wrong.

    A few damaged photos are left out, with one warning in the log.
    """
    kind, path, weight = split_spec(spec)
    if not path.exists():
        raise DataError(f"{path}: no such folder or file")
    return replace(READERS[kind](path), name=kind, weight=weight)


def hold_back(photos: PhotoSet, count: int, *, seed: int) -> tuple[PhotoSet, PhotoSet]:
    """Split into (the rest, `count` people chosen by the seed), both in their original order.

    Whoever shares a photo with a chosen person is held back as well, so that no photo is in both.
    """
    order = np.random.default_rng(seed).permutation(len(photos))
    chosen = {photos.files[row] for row in order[: max(count, 0)]}
    held = np.array([path in chosen for path in photos.files], bool)
    if count < 0 or (count and held.all()):
        raise DataError(f"{photos.name}: cannot hold back {count} of {len(photos)} photos; ask for fewer")
    return photos.select(~held), photos.select(held)


def fingerprint(photos: PhotoSet) -> str:
    """SHA-256 over file names and labels, to record what a network was trained on."""
    total = hashlib.sha256("\n".join(path.name for path in photos.files).encode())
    for array in (photos.xy, photos.labelled):
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()

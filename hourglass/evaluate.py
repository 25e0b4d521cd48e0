"""How good a detector is: PCK on labelled photos, each person seen in the region around its own labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hourglass.data import PhotoSet
from hourglass.metrics import correct, pck, torso_length
from hourglass.predict import Detector

BATCH = 64


def predict_photos(detector: Detector, photos: PhotoSet, *, flip_test: bool, zooms: Sequence[float] = ()) -> np.ndarray:
    """Joints (N, J, 2) in photo pixels, found in the region around each photo's labelled joints (person-centric); NaN
    for a photo without any label. `zooms` as in `Detector.regions`.
    """
    size, found = detector.input_size, np.full(photos.xy.shape, np.nan)
    some = np.flatnonzero(photos.labelled.any(1)).tolist()
    for start in range(0, len(some), BATCH):
        rows = some[start : start + BATCH]
        regions = [photos.region(row) for row in rows]
        if zooms:
            looks = [
                detector.regions(photos.read(row), [region], flip_test=flip_test, zooms=zooms)
                for row, region in zip(rows, regions, strict=True)
            ]
            found[rows] = [xy[0] for xy, _ in looks]
            continue
        crops = np.stack([region.cut(photos.read(row), size) for row, region in zip(rows, regions, strict=True)])
        xy, _ = detector.crops(crops, flip_test=flip_test)
        found[rows] = [region.to_frame(points, size) for region, points in zip(regions, xy, strict=True)]
    return found


def evaluate_pck(
    detector: Detector,
    photos: PhotoSet,
    *,
    flip_test: bool,
    zooms: Sequence[float] = (),
    threshold: float = 0.2,
) -> dict[str, Any]:
    """PCK@threshold in percent over the labelled joints; keys 'limbs', 'mean', 'per_joint'."""
    predicted = predict_photos(detector, photos, flip_test=flip_test, zooms=zooms)
    length = torso_length(photos.xy, photos.labelled, photos.skeleton)
    hits = correct(predicted, photos.xy, length, threshold=threshold)
    counted = photos.labelled & np.isfinite(length)[:, None]
    return pck(hits, counted, photos.skeleton)


def table(result: dict[str, Any]) -> str:
    """The figures as text, a line per joint; `result` has 'images' and 'pck@0.2' as `evaluate_pck` gives it."""
    scores = result["pck@0.2"]
    rows = [*scores["per_joint"].items(), ("12 limb joints", scores["limbs"]), ("all joints", scores["mean"])]
    lines = [f"PCK@0.2 of the torso's diagonal, person-centric, {result['images']} images, percent"]
    return "\n".join([*lines, *(f"{name:<16}{value:>7.1f}" for name, value in rows)])

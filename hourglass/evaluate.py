"""How good a detector is: PCK and PCKh on labelled photos, each person seen in a region of his or her own.

The region is the one that the set gives, or lies around the labelled joints (person-centric).
"""

import logging
import math
import textwrap
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from hourglass.data import PhotoSet, fingerprint
from hourglass.labels import MAX_DAMAGED
from hourglass.metrics import PCK_AT, PCKH_LEFT_OUT, correct, neck_to_head, pck, pckh, torso_length
from hourglass.predict import Detector
from pipeline.crop import BOX_MARGIN
from pipeline.errors import DataError, InputError
from pipeline.skeleton import Skeleton, convert

logger = logging.getLogger(__name__)

BATCH = 32  # photos at a time; with more a processor's caches overflow
PCKH_AT = (0.5, 0.1)  # thresholds of PCKh, in heads


@dataclass(frozen=True)
class Predictions:
    """Joints found in the photos of a set, as the set's skeleton has them.

    xy     (N, J, 2) float64, photo pixels, by the test that was asked for; NaN where nothing was looked for
    plain  (N, J, 2) the same from one look at each photo as it is, nothing averaged
    given  (N, J) bool: looked for; not in photos without labels or unreadable, nor joints that the detector lacks
    """

    xy: np.ndarray
    plain: np.ndarray
    given: np.ndarray


def predict(
    detector: Detector,
    photos: PhotoSet,
    *,
    flip_test: bool,
    zooms: Sequence[float] = (),
    tolerated: float = 1.0,
) -> Predictions:
    """Find the joints in each photo's region, `zooms` as in `Detector.views`.

    Photos that cannot be read are left out, with one warning in the log; DataError if they are more than the
    `tolerated` part of all.
    """
    found, plain = np.full((2, *photos.xy.shape), np.nan)
    unread: list[DataError] = []
    some = np.flatnonzero(photos.labelled.any(1)).tolist()
    for start in range(0, len(some), BATCH):
        rows, crops = [], []
        for row in some[start : start + BATCH]:
            try:
                crops.append(detector.cut(photos.read(row), photos.region(row), zooms=zooms))
                rows.append(row)
            except DataError as error:
                unread.append(error)
        if len(unread) > tolerated * len(photos):
            raise DataError(f"more than {tolerated:.0%} of {len(photos)} photos cannot be read, such as {unread[0]}")
        if rows:
            views = detector.views(np.stack(crops), flip_test=flip_test, zooms=zooms)
            found[rows] = _in_photos(detector, photos, rows, detector.joints(views.mean(0))[0])
            plain[rows] = _in_photos(detector, photos, rows, detector.joints(views[0])[0])
    if unread:
        told = "%d of %d photos cannot be read and are left out, such as %s"
        logger.warning(told, len(unread), len(photos), unread[0])
    return Predictions(found, plain, given=np.isfinite(found).all(-1))


def _in_photos(detector: Detector, photos: PhotoSet, rows: list[int], xy: np.ndarray) -> list[np.ndarray]:
    """Joints (M, J, 2) in crop pixels as those of the set's skeleton in pixels of the photos at these rows."""
    known = _as_skeleton(xy, detector.skeleton, photos.skeleton)
    return [photos.region(row).to_frame(points, detector.input_size) for row, points in zip(rows, known, strict=True)]


def _as_skeleton(xy: np.ndarray, source: Skeleton, target: Skeleton) -> np.ndarray:
    """Poses (N, J, 2) of one skeleton as those of another, by name; NaN for joints that cannot be had."""
    points = np.full((len(xy), len(target), 2), np.nan)
    for joint, name in enumerate(target.joints):
        with suppress(InputError):
            points[:, joint] = convert(xy, source, Skeleton(name, (name,), (-1,)))[:, 0]
    return points


def predict_photos(detector: Detector, photos: PhotoSet, *, flip_test: bool, zooms: Sequence[float] = ()) -> np.ndarray:
    """Joints (N, J, 2) in photo pixels; NaN for a photo without any label, or one that cannot be read."""
    return predict(detector, photos, flip_test=flip_test, zooms=zooms).xy


def evaluate_pck(
    detector: Detector,
    photos: PhotoSet,
    *,
    flip_test: bool,
    zooms: Sequence[float] = (),
    threshold: float = PCK_AT,
) -> dict[str, Any]:
    """PCK@threshold in percent over the labelled joints; keys 'limbs', 'mean', 'per_joint'."""
    predictions = predict(detector, photos, flip_test=flip_test, zooms=zooms)
    length = torso_length(photos.xy, photos.labelled, photos.skeleton)
    hits = correct(predictions.xy, photos.xy, length, threshold=threshold)
    counted = photos.labelled & predictions.given & np.isfinite(length)[:, None]
    return pck(hits, counted, photos.skeleton)


def measure(
    detector: Detector,
    photos: PhotoSet,
    *,
    flip_test: bool,
    zooms: Sequence[float] = (),
    visible_only: bool = False,
) -> tuple[dict[str, Any], Predictions]:
    """All figures of a detector on a set, in plain JSON types, and the joints that they come from.

    The figures are percentages, null where nothing counts: 'pck@0.2', 'pckh@0.5', 'pckh@0.1', each with 'limbs',
    'mean' and 'per_joint', and under 'without_flip_test' the same three with nothing averaged. 'pckh' is null where
    no size of a head is known. Beside them: images, joints (counted by PCK), data, protocol (in words), test.

    Raises DataError for a set without photos or without a joint to measure, or if too many photos are unreadable.
    """
    if not len(photos):
        raise DataError(f"{photos.name}: no photos to measure on; check the folder of the set")
    predictions = predict(detector, photos, flip_test=flip_test, zooms=zooms, tolerated=MAX_DAMAGED)
    counted = predictions.given & (photos.visible if visible_only else photos.labelled)
    if not counted.any():
        what = "visible joint that" if visible_only else "joint that"
        raise DataError(f"{photos.name}: labels no {what} the detector finds; measure on another set")
    rows = np.flatnonzero(predictions.given.any(1))
    torso = torso_length(photos.xy, photos.labelled, photos.skeleton)
    result = {
        "images": len(rows),
        "joints": int((counted & np.isfinite(torso)[:, None]).sum()),
        "data": {"kind": photos.name, "fingerprint": fingerprint(photos)},
        "protocol": _protocol(photos.select(rows), predictions.given[rows], visible_only=visible_only),
        "test": {"flip": flip_test, "zooms": list(zooms)},
        **_figures(photos, predictions.xy, counted),
        "without_flip_test": _figures(photos, predictions.plain, counted),
    }
    return result, predictions


def head_size(photos: PhotoSet) -> np.ndarray:
    """The lengths (N,) that PCKh divides by: the set's own, or from neck to head top where it has none at all."""
    if np.isfinite(photos.head).any():
        return photos.head
    return neck_to_head(photos.xy, photos.labelled, photos.skeleton)


def _figures(photos: PhotoSet, predicted: np.ndarray, counted: np.ndarray) -> dict[str, Any]:
    """PCK and PCKh of poses (N, J, 2) over the counted joints (N, J)."""
    torso, head = torso_length(photos.xy, photos.labelled, photos.skeleton), head_size(photos)
    scales = {f"pck@{PCK_AT}": (pck, torso, PCK_AT), **{f"pckh@{share}": (pckh, head, share) for share in PCKH_AT}}
    result: dict[str, Any] = {}
    for name, (percentages, length, threshold) in scales.items():
        hits, known = correct(predicted, photos.xy, length, threshold=threshold), np.isfinite(length)
        figures = percentages(hits, counted & known[:, None], photos.skeleton)
        result[name] = {key: _or_null(value) for key, value in figures.items()}
        if percentages is pckh and not known.any():
            result[name] = None
    return result


def _or_null(value: Any) -> Any:
    """NaN, which JSON does not know, as null."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _protocol(photos: PhotoSet, given: np.ndarray, *, visible_only: bool) -> dict[str, str | None]:
    """In words, how the figures of a set come about; `given` (N, J) as in `Predictions`."""
    skeleton, own = photos.skeleton, np.isfinite(photos.regions).all(1)
    square = f"a square around the labelled joints, {BOX_MARGIN} times as large"
    if own.any():
        square = "the square that the set gives" if own.all() else f"the square that the set gives, or else {square}"
    joints = "those labelled visible" if visible_only else "all that are labelled, hidden ones too"
    missing = [joint for index, joint in enumerate(skeleton.joints) if not given[:, index].any()]
    if missing:
        joints += f"; the detector does not know {', '.join(missing)}"
    torsos = int(np.isfinite(torso_length(photos.xy, photos.labelled, skeleton)).sum())
    every = f"all {len(skeleton)} joints" if not missing else f"the other {len(skeleton) - len(missing)} joints"
    among = [joint for joint in PCKH_LEFT_OUT if joint in skeleton.joints and joint not in missing]
    every += f", with {' and '.join(among)}" if among else ""
    return {
        "person": f"each seen in {square}",
        "joints": joints,
        "pck": f"correct within {PCK_AT} of the torso, from left shoulder to right hip or, where one of these is not "
        f"labelled, the other diagonal; {torsos} of {len(photos)} people have one; mean: of the percentages of {every}",
        "pckh": _head_protocol(photos),
        "limbs": "mean of the percentages of the 12 limb joints: ankles, knees, hips, wrists, elbows and shoulders",
    }


def _head_protocol(photos: PhotoSet) -> str | None:
    heads = int(np.isfinite(head_size(photos)).sum())
    if not heads:
        return None
    own = np.isfinite(photos.head).any()
    size = "as the set gives it, for MPII 0.6 of the diagonal of the head's box" if own else "from neck to head top"
    left_out = " and ".join(joint for joint in PCKH_LEFT_OUT if joint in photos.skeleton.joints)
    mean = "the share of all counted joints" + (f" but {left_out}" if left_out else "")
    within = " or ".join(map(str, PCKH_AT))
    return f"correct within {within} of the head's size, {size}; {heads} of {len(photos)} people have one; mean: {mean}"


def table(result: dict[str, Any]) -> str:
    """The figures of `measure` as text: what was measured and how, then a line per joint."""
    columns = {name.replace("pck", "PCK"): result[name] for name in result if name.startswith("pck") and result[name]}
    columns["PCK@0.2 plain"] = result["without_flip_test"]["pck@0.2"]
    joints = dict.fromkeys(joint for figures in columns.values() for joint in figures["per_joint"])
    rows = [(_in_words(joint), [figures["per_joint"].get(joint) for figures in columns.values()]) for joint in joints]
    means = [("12 limb joints", "limbs"), ("mean", "mean")]
    rows += [(name, [figures[key] for figures in columns.values()]) for name, key in means]
    widths = [max(len(name), len("PCKh@0.5")) + 2 for name in columns]
    lines = [_row(name, ["-" if v is None else f"{v:.1f}" for v in values], widths) for name, values in rows]
    rule = "-" * len(lines[0])
    figures = [_row("", columns, widths), rule, *lines[: -len(means)], rule, *lines[-len(means) :]]
    return "\n".join([*_heading(result), "", *figures])


def _row(name: str, cells: Iterable[str], widths: list[int]) -> str:
    return f"{name:<16}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def _in_words(joint: str) -> str:
    side = {"l_": "left ", "r_": "right "}.get(joint[:2])
    return (side + joint[2:] if side else joint).replace("_", " ")


def _heading(result: dict[str, Any]) -> list[str]:
    """What was measured, and how, wrapped."""
    zooms = result["test"]["zooms"]
    looks = ["the photo as it is", *(["its mirror image"] if result["test"]["flip"] else [])]
    scales = f", {'each ' if len(looks) > 1 else ''}at {1 + len(zooms)} scales" if zooms else ""
    test = f"mean over {' and '.join(looks)}{scales}; plain: only the photo as it is"
    told = {**result["protocol"], "test": test if len(looks) > 1 or zooms else looks[0]}
    lines = [f"{result['data']['kind']}, {result['images']} images, {result['joints']} joints, in percent"]
    for name, text in told.items():
        sentence = f"{name:<8}{text or 'left out, as no size of a head is known'}"
        lines += textwrap.wrap(sentence, 100, subsequent_indent=" " * 8)
    return lines

"""Poses of single views against several calibrated, synchronised cameras: how well 3D from one camera holds.

The reference is made of our own 2D, triangulated over all views where they agree. So it knows nothing of errors that
the detector makes alike in all views, and a joint that it loses in most of them is not judged.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from lifter.metrics import mpjpe, pa_mpjpe
from pipeline.calibration import View, read_calibration
from pipeline.errors import DataError, InputError
from pipeline.eval_clips import HIPS, NAN, lifted_again, limb_joints, mean, rooted
from pipeline.run import Models, Poses, as_one, find_poses
from pipeline.triangulate import MOST_VIEWS, triangulate
from pipeline.video import probe

ENOUGH_JOINTS = 8  # of the 12, the hips among them, that a frame must have in the reference


@dataclass(frozen=True)
class Watched:
    """What was found in one view, for every frame of the clip; NaN where nobody was.

    xy        (T, 12, 2)  pixels of the limb joints
    score     (T, 12)
    xyz       (T, 12, 3)  lifted, mm, camera axes, relative to the middle of the hips
    xyz_true  (T, 12, 3)  the same, lifted with the calibrated focal length
    """

    view: View
    xy: np.ndarray
    score: np.ndarray
    xyz: np.ndarray
    xyz_true: np.ndarray


@dataclass(frozen=True)
class Reference:
    """Limb joints (T, 12, 3), world mm, NaN where too few views agree, and the views (V, T, 12) that do."""

    xyz: np.ndarray
    used: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Frames (T,) with enough joints to judge by."""
        good = np.isfinite(self.xyz).all(-1)
        return good[:, HIPS].all(1) & (good.sum(1) >= ENOUGH_JOINTS)


@dataclass(frozen=True)
class ReferenceScores:
    """How good the reference is.

    frames               of the clips
    coverage             percent of frames with enough joints: both hips and 8 of the 12, each agreed on by 3 views
    joints               percent of joints, in all frames, that enough views agree on
    reprojection_px      median distance of our 2D from the reference in the views that agree
    reprojection_all_px  the same in all views that saw the joint, where it has a reference: large if many were dropped
    """

    frames: int
    coverage: float
    joints: float
    reprojection_px: float
    reprojection_all_px: float


@dataclass(frozen=True)
class ViewScores:
    """Figures of one view against the reference, over the frames that count, the joints that it has, and where the
    person was found. NaN where there is none.

    found                   frames with a person
    judged                  frames with a person and a reference
    mpjpe_mm                mean distance of joints relative to the middle of the hips, in that camera's axes
    pa_mpjpe_mm             the same after the best similarity of every frame, without reflections
    mpjpe_true_focal_mm     as mpjpe_mm, lifted with the calibrated focal length instead of the program's own
    pa_mpjpe_true_focal_mm  as pa_mpjpe_mm, likewise
    reprojection_px         median distance of this view's 2D from the reference, agreeing or not
    dropped                 percent of joints seen here that have a reference which this view does not agree with
    """

    found: int
    judged: int
    mpjpe_mm: float
    pa_mpjpe_mm: float
    mpjpe_true_focal_mm: float
    pa_mpjpe_true_focal_mm: float
    reprojection_px: float
    dropped: float


@dataclass(frozen=True)
class PairScores:
    """How far the single-view poses of two cameras agree with each other, without any reference, over the frames with
    a person in both; the program's own focal length.

    frames       with a person in both
    pa_mpjpe_mm  of one after the best similarity of every frame onto the other
    world_mm     mean distance of joints relative to the middle of the hips, both turned into world axes
    """

    frames: int
    pa_mpjpe_mm: float
    world_mm: float


# What each view sees


def watch(clip: Path, view: View, models: Models) -> Watched:
    """Run the program on the clip of a view."""
    poses = as_one(find_poses(clip, models))
    return watched(poses, view, lifted_again(poses, float(view.matrix[0, 0]), models.lifter))


def watched(poses: Poses, view: View, exact: Poses) -> Watched:
    """The limb joints of a person, lifted with the program's own focal length and with the exact one."""

    def spread(values: np.ndarray) -> np.ndarray:
        everywhere = np.full((poses.frames, *values.shape[1:]), NAN)
        everywhere[poses.track.frame] = values
        return everywhere

    flat = [spread(limb_joints(values, poses.track.skeleton)) for values in (poses.track.xy, poses.track.score)]
    solid = [spread(rooted(limb_joints(one.lifted.xyz, one.lifted.skeleton))) for one in (poses, exact)]
    return Watched(view, *flat, *solid)


# Figures


def build_reference(seen: Sequence[Watched]) -> Reference:
    """The person in the world, triangulated from all views."""
    rays = np.stack([one.view.rays(one.xy) for one in seen])
    weight = np.stack([one.score for one in seen])
    count, frames, joints = weight.shape
    points = triangulate([one.view for one in seen], rays.reshape(count, -1, 2), weight.reshape(count, -1))
    return Reference(points.xyz.reshape(frames, joints, 3), points.used.reshape(weight.shape))


def reprojection(seen: Sequence[Watched], reference: Reference) -> np.ndarray:
    """How far (V, T, 12), pixels, our 2D is from the reference; NaN where either is missing."""
    return np.stack([np.linalg.norm(one.view.project(reference.xyz) - one.xy, axis=-1) for one in seen])


def score_reference(seen: Sequence[Watched], reference: Reference) -> ReferenceScores:
    """Figures of the reference."""
    error = reprojection(seen, reference)
    good = np.isfinite(reference.xyz).all(-1)
    return ReferenceScores(
        len(good),
        100 * float(reference.counts.mean()),
        100 * float(good.mean()),
        _median(error[reference.used]),
        _median(error),
    )


def score_view(one: Watched, used: np.ndarray, reference: Reference) -> ViewScores:
    """Figures of one view, which agrees with the reference where `used` (T, 12)."""
    found = np.isfinite(one.xyz).all((1, 2))
    rows = np.flatnonzero(found & reference.counts)
    truth = rooted(reference.xyz @ one.view.rotation.T)
    errors = [_errors(lifted, truth, rows) for lifted in (one.xyz, one.xyz_true)]
    error = reprojection([one], reference)[0]
    seen = np.isfinite(error)
    dropped = 100 * float((~used[seen]).mean()) if seen.any() else NAN
    return ViewScores(int(found.sum()), len(rows), *errors[0], *errors[1], _median(error), dropped)


def score_pair(a: Watched, b: Watched) -> PairScores:
    """How far two views agree with each other."""
    rows = np.flatnonzero(np.isfinite(a.xyz).all((1, 2)) & np.isfinite(b.xyz).all((1, 2)))
    in_world = [one.xyz[rows] @ one.view.rotation for one in (a, b)]
    if not len(rows):
        return PairScores(0, NAN, NAN)
    return PairScores(len(rows), pa_mpjpe(*in_world), mpjpe(*in_world))


def _errors(lifted: np.ndarray, truth: np.ndarray, rows: np.ndarray) -> tuple[float, float]:
    """MPJPE and PA-MPJPE, mm, over those joints of these rows that the truth has, every joint counting the same."""
    plain, aligned, joints = 0.0, 0.0, 0
    for row in rows:
        known = np.isfinite(truth[row]).all(-1)
        pair = lifted[row, known][None], truth[row, known][None]
        plain, aligned = plain + mpjpe(*pair) * known.sum(), aligned + pa_mpjpe(*pair) * known.sum()
        joints += known.sum()
    return (plain / joints, aligned / joints) if joints else (NAN, NAN)


def _median(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else NAN


# All views of a scene


def evaluate_views(calibration: Path, clips: Sequence[Path], models: Models) -> dict[str, Any]:
    """Figures of all views: {'reference': {...}, 'views': {CAMERA: {...}}, 'mean': {...}, 'pairs': {'A - B': {...}}}.

    The keys are the fields of `ReferenceScores`, `ViewScores` (and their mean over views) and `PairScores`; a figure
    that is not defined is NaN. Raises what `check_views` does, and DataError if clips have different numbers of frames.
    """
    views = check_views(calibration, clips)
    seen: list[Watched] = []
    for clip, view in zip(clips, views, strict=True):
        seen.append(watch(clip, view, models))
        lengths = len(seen[0].xy), len(seen[-1].xy)
        if lengths[0] != lengths[1]:
            what = f"{clips[0]} has {lengths[0]} frames, {clip} has {lengths[1]}"
            raise DataError(f"the clips are not synchronised: {what}; cut them to the same start and end")
    return score_views(seen)


def check_views(calibration: Path, clips: Sequence[Path]) -> tuple[View, ...]:
    """The cameras of the clips, fitted to the sizes of their frames, after a look at all that can be wrong before the
    slow part.

    InputError if the numbers of cameras and clips differ, there are fewer than two or too many, or a clip cannot be
    read or has another shape than its camera.
    """
    views = read_calibration(calibration)
    if len(clips) != len(views):
        names = ", ".join(view.name for view in views)
        raise InputError(f"{calibration}: has {len(views)} cameras ({names}), not {len(clips)}; give a clip of each")
    if not 2 <= len(views) <= MOST_VIEWS:
        raise InputError(f"{calibration}: has {len(views)} cameras; 2 to {MOST_VIEWS} can be compared")
    fitted = []
    for clip, view in zip(clips, views, strict=True):
        info = probe(clip)
        try:
            fitted.append(view.fitted((info.width, info.height)))
        except ValueError as error:
            raise InputError(f"{clip}: {error}; give the clips in the order of the cameras") from error
    return tuple(fitted)


def score_views(seen: Sequence[Watched]) -> dict[str, Any]:
    """`evaluate_views` of what was seen."""
    reference = build_reference(seen)
    by_name = {
        one.view.name: asdict(score_view(one, used, reference)) for one, used in zip(seen, reference.used, strict=True)
    }
    keys = [field.name for field in fields(ViewScores)]
    means = {key: mean([scores[key] for scores in by_name.values()]) for key in keys}
    pairs = {f"{a.view.name} - {b.view.name}": asdict(score_pair(a, b)) for a, b in combinations(seen, 2)}
    reference_scores = asdict(score_reference(seen, reference))
    return {"reference": reference_scores, "views": by_name, "mean": means, "pairs": pairs}


LEGEND = """
12 limb joints relative to the middle of the hips. The reference is our own 2D of all views, triangulated where they
agree; it is no independent truth. MPJPE: in the camera's axes, mm, with the focal length that the program takes by
itself; PA-: after the best similarity of every frame; f: with the calibrated focal length. 2D px: median distance of
the view's 2D from the reference; dropped: joints of this view that the reference does without, %. world: distance of
two views' poses, turned into the same axes, mm. -: not defined."""


def table(result: dict[str, Any]) -> str:
    """The figures as text, and what they mean."""
    reference = result["reference"]
    width = max(9, *(len(name) for name in [*result["views"], *result["pairs"]]))
    lines = [
        f"reference: {reference['coverage']:.0f} % of {reference['frames']} frames, {reference['joints']:.0f} % of "
        f"joints; reprojection {_number(reference['reprojection_px'])} px where views agree, "
        f"{_number(reference['reprojection_all_px'])} px in all",
        "",
        f"{'view':<{width}}" + "".join(f"{text:>9}" for text in VIEW_HEADINGS),
    ]
    for name, scores in [*result["views"].items(), ("mean", result["mean"])]:
        cells = [f"{scores['found']:.0f}", f"{scores['judged']:.0f}", *map(_number, list(scores.values())[2:])]
        lines.append(f"{name:<{width}}" + "".join(f"{cell:>9}" for cell in cells))
    lines += ["", f"{'pair':<{width}}" + "".join(f"{text:>9}" for text in ("frames", "PA-", "world"))]
    for name, scores in result["pairs"].items():
        cells = [f"{scores['frames']}", _number(scores["pa_mpjpe_mm"]), _number(scores["world_mm"])]
        lines.append(f"{name:<{width}}" + "".join(f"{cell:>9}" for cell in cells))
    return "\n".join([*lines, LEGEND])


VIEW_HEADINGS = ("found", "judged", "MPJPE", "PA-", "MPJPE f", "PA- f", "2D px", "dropped")


def _number(value: float) -> str:
    return f"{value:.1f}" if np.isfinite(value) else "-"

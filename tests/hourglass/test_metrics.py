"""PCK and PCKh against figures computed by hand."""

import math

import numpy as np
import pytest

from hourglass.metrics import correct, neck_to_head, pck, pckh, torso_length
from pipeline.skeleton import COCO17, LIMB_JOINTS, LSP14, MPII16


def pose_with(**places: tuple[float, float]) -> np.ndarray:
    xy = np.zeros((len(LSP14), 2))
    for joint, place in places.items():
        xy[LSP14.index(joint)] = place
    return xy


def test_torso_is_the_diagonal_from_left_shoulder_to_right_hip():
    xy = pose_with(l_shoulder=(0, 0), r_hip=(30, 40), r_shoulder=(0, 0), l_hip=(60, 80))[None]
    labelled = np.ones((1, 14), bool)
    assert torso_length(xy, labelled, LSP14).tolist() == [50]


@pytest.mark.parametrize("missing", ["l_shoulder", "r_hip"])
def test_the_other_diagonal_stands_in(missing):
    xy = pose_with(l_shoulder=(0, 0), r_hip=(30, 40), r_shoulder=(0, 0), l_hip=(60, 80))[None]
    labelled = np.ones((1, 14), bool)
    labelled[0, LSP14.index(missing)] = False
    assert torso_length(xy, labelled, LSP14).tolist() == [100]


def test_no_diagonal_no_length():
    labelled = np.ones((3, 14), bool)
    labelled[1, LSP14.indices(("l_shoulder", "r_shoulder"))] = False
    labelled[2, LSP14.indices(("l_shoulder", "l_hip"))] = False
    xy = np.tile(pose_with(l_shoulder=(0, 0), r_hip=(30, 40)), (3, 1, 1))
    assert np.isnan(torso_length(xy, labelled, LSP14)).tolist() == [False, True, True]


def test_correct_is_within_the_threshold_of_that_photos_length():
    true = np.zeros((2, 3, 2))
    predicted = np.array([[(10, 0), (6, 8), (10.1, 0)], [(20, 0), (0, -20), (0, 20.1)]])
    hits = correct(predicted, true, np.array([50.0, 100.0]), threshold=0.2)
    assert hits.tolist() == [[True, True, False], [True, True, False]]
    assert correct(predicted, true, np.array([50.0, 100.0]), threshold=0.21).all()


def test_a_nan_is_a_miss():
    true = np.zeros((2, 2, 2))
    predicted = np.array([[(np.nan, 0), (0, 0)], [(0, 0), (0, 0)]])
    hits = correct(predicted, true, np.array([50.0, np.nan]), threshold=0.2)
    assert hits.tolist() == [[False, True], [False, False]]


def test_percentages_by_hand():
    hits = np.zeros((4, 14), bool)
    counted = np.zeros((4, 14), bool)
    ankle, head = LSP14.index("r_ankle"), LSP14.index("head_top")
    counted[:, ankle] = True
    hits[:3, ankle] = True
    counted[:2, head] = True
    hits[:, head] = [True, False, True, True]  # the last two do not count
    result = pck(hits, counted, LSP14)
    assert result == {"per_joint": {"r_ankle": 75.0, "head_top": 50.0}, "mean": 62.5, "limbs": 75.0}


def test_means_are_over_joints_not_over_labels():
    hits = np.ones((10, 14), bool)
    counted = np.ones((10, 14), bool)
    hits[:, 13] = False
    counted[1:, 12] = False  # one label only, but a joint like the others
    result = pck(hits, counted, LSP14)
    assert result["limbs"] == 100
    assert result["mean"] == pytest.approx(100 * 13 / 14)
    assert list(result["per_joint"]) == list(LSP14.joints)


def test_limbs_leave_out_trunk_and_head_in_any_skeleton():
    hits = np.zeros((1, 16), bool)
    hits[0, MPII16.indices(LIMB_JOINTS)] = True
    result = pck(hits, np.ones((1, 16), bool), MPII16)
    assert result["limbs"] == 100
    assert result["mean"] == 75


def test_nothing_to_count():
    result = pck(np.zeros((0, 14), bool), np.zeros((0, 14), bool), LSP14)
    assert math.isnan(result["limbs"])
    assert math.isnan(result["mean"])
    assert result["per_joint"] == {}


# PCKh


def test_neck_to_head_by_skeleton():
    xy = pose_with(neck=(3, 4), head_top=(0, 0))[None]
    labelled = np.ones((1, 14), bool)
    assert neck_to_head(xy, labelled, LSP14).tolist() == [5]
    mpii = np.zeros((1, 16, 2))
    mpii[0, MPII16.index("upper_neck")] = (6, 8)
    assert neck_to_head(mpii, np.ones((1, 16), bool), MPII16).tolist() == [10]
    assert np.isnan(neck_to_head(np.zeros((2, 17, 2)), np.ones((2, 17), bool), COCO17)).tolist() == [True, True]


@pytest.mark.parametrize("missing", ["neck", "head_top"])
def test_a_head_needs_both_ends(missing):
    labelled = np.ones((2, 14), bool)
    labelled[1, LSP14.index(missing)] = False
    xy = np.tile(pose_with(neck=(3, 4)), (2, 1, 1))
    assert np.isnan(neck_to_head(xy, labelled, LSP14)).tolist() == [False, True]


def test_pckh_by_hand():
    """The mean counts labels, not joints: 3 of 4 ankles and 1 of 2 heads are 4 of 6; the pelvis is left out."""
    hits, counted = np.zeros((2, 4, 16), bool)
    ankle, head, pelvis = MPII16.indices(("r_ankle", "head_top", "pelvis"))
    counted[:, [ankle, pelvis]] = True
    counted[:2, head] = True
    hits[:3, ankle] = True
    hits[1:, head] = True
    result = pckh(hits, counted, MPII16)
    assert result["per_joint"] == {"r_ankle": 75, "pelvis": 0, "head_top": 50}
    assert result["limbs"] == 75
    assert result["mean"] == pytest.approx(100 * 4 / 6)
    assert pck(hits, counted, MPII16)["mean"] == pytest.approx((75 + 0 + 50) / 3)


@pytest.mark.parametrize("skeleton", [LSP14, MPII16], ids=lambda skeleton: skeleton.name)
def test_mean_of_pckh_is_the_weighted_mean_of_the_joints(skeleton):
    """A second formula: every joint's percentage weighs as much as it has labels."""
    rng = np.random.default_rng(0)
    hits, counted = rng.random((2, 50, len(skeleton))) < [[[0.7]], [[0.5]]]
    result = pckh(hits, counted, skeleton)
    kept = [i for i, joint in enumerate(skeleton.joints) if joint not in ("pelvis", "thorax")]
    assert len(kept) == 14
    percent = [result["per_joint"][skeleton.joints[i]] for i in kept]
    assert result["mean"] == pytest.approx(np.average(percent, weights=counted.sum(0)[kept]))


def test_nothing_to_count_for_pckh():
    nothing = np.zeros((3, 16), bool)
    result = pckh(nothing, nothing, MPII16)
    assert math.isnan(result["mean"])
    assert result["per_joint"] == {}
    only_pelvis = nothing.copy()
    only_pelvis[:, MPII16.index("pelvis")] = True
    assert math.isnan(pckh(only_pelvis, only_pelvis, MPII16)["mean"])

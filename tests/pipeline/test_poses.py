"""Tracks refuse arrays that do not belong together."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.poses import Track2D, Track3D
from pipeline.skeleton import H36M16, LSP14


def track_2d(frames: int = 3) -> Track2D:
    shape = (frames, len(LSP14))
    return Track2D(LSP14, np.arange(frames), np.arange(frames) / 25, np.zeros((*shape, 2)), np.ones(shape), (640, 360))


def track_3d(frames: int = 3) -> Track3D:
    return Track3D(H36M16, np.arange(frames), np.arange(frames) / 25, np.zeros((frames, 16, 3)))


def test_length_is_the_number_of_rows():
    assert len(track_2d(5)) == len(track_3d(5)) == 5
    assert len(track_2d(0)) == len(track_3d(0)) == 0


def test_select_keeps_rows_together():
    whole = replace(track_2d(4), xy=np.arange(4.0)[:, None, None] + np.zeros((14, 2)))
    some = whole.select(np.array([False, True, False, True]))
    assert some.frame.tolist() == [1, 3]
    assert some.time_s.tolist() == [0.04, 0.12]
    assert some.xy[:, 0, 0].tolist() == [1, 3]
    assert some.score.shape == (2, 14)
    assert (some.skeleton, some.size) == (whole.skeleton, whole.size)


def test_frames_may_be_missing_but_not_turn_back():
    replace(track_2d(), frame=np.array([0, 7, 8]))
    for wrong in ([0, 2, 1], [0, 1, 1]):
        with pytest.raises(ValueError, match="frame indices must increase"):
            replace(track_2d(), frame=np.array(wrong))
        with pytest.raises(ValueError, match="frame indices must increase"):
            replace(track_3d(), frame=np.array(wrong))


@pytest.mark.parametrize(
    "wrong",
    [
        {"xy": np.zeros((3, 13, 2))},
        {"xy": np.zeros((3, 14, 3))},
        {"xy": np.zeros((2, 14, 2))},
        {"time_s": np.zeros(2)},
        {"frame": np.arange(4)},
    ],
)
def test_arrays_that_do_not_match_the_frames_or_the_skeleton(wrong):
    with pytest.raises(ValueError, match=r"lsp14: expected points \(\d, 14, 2\), got"):
        replace(track_2d(), **wrong)


def test_scores_that_do_not_match():
    with pytest.raises(ValueError, match=r"score \(3, 13\) does not match xy \(3, 14, 2\)"):
        replace(track_2d(), score=np.zeros((3, 13)))


def test_points_of_a_3d_track_have_three_coordinates():
    with pytest.raises(ValueError, match=r"h36m16: expected points \(3, 16, 3\), got \(3, 16, 2\)"):
        replace(track_3d(), xyz=np.zeros((3, 16, 2)))

"""The poses of a clip refuse what does not belong together."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.skeleton import LSP14
from tests.pipeline.posed import clip, even, person, two_people, walk


def test_length_is_the_number_of_rows():
    assert [len(each) for each in two_people().people] == [16, 16]


def spoilt(array: np.ndarray, value: float) -> np.ndarray:
    changed = array.copy()
    changed.flat[3] = value
    return changed


@pytest.mark.parametrize(
    ("field", "change", "message"),
    [
        ("id", lambda _: 0, "person 0: an id is 1 to"),
        ("id", lambda _: 2**63, "person 9223372036854775808: an id is 1 to 9007199254740992"),
        ("frame", lambda a: a[:-1], r"time_s: expected \(29,\) of kind 'f', got \(30,\)"),
        ("frame", lambda a: a.astype(float), r"frame: expected \(30,\) of kind 'iu', got \(30,\) float64"),
        ("frame", lambda a: a[::-1], "person 1: frame indices must increase"),
        ("frame", lambda a: spoilt(a, 2), "frame indices must increase"),
        ("xy", lambda a: a[:, :14], r"xy: expected \(30, 16, 2\) of kind 'f', got \(30, 14, 2\)"),
        ("score", lambda a: a[:, :14], "score: expected"),
        ("filled", lambda a: a.astype(int), r"filled: expected \(30, 16\) of kind 'b', got \(30, 16\) int64"),
        ("xyz", lambda a: a[..., :2], r"xyz: expected \(30, 17, 3\)"),
        ("world", lambda a: a[:, :16], r"world: expected \(30, 17, 3\)"),
        ("xyz", lambda a: spoilt(a, np.nan), "person 1: xyz: has numbers that are not finite"),
        ("score", lambda a: spoilt(a, np.inf), "score: has numbers that are not finite"),
        ("skeleton2d", lambda _: LSP14, r"xy: expected \(30, 14, 2\)"),
    ],
)
def test_people_that_do_not_fit_together(field, change, message):
    (one,) = walk().people
    with pytest.raises(ValueError, match=message):
        replace(one, **{field: change(getattr(one, field))})


def test_a_person_is_in_some_frame():
    (one,) = walk(3).people
    rows = {name: getattr(one, name)[:0] for name in ("frame", "time_s", "xy", "score", "filled", "xyz", "world")}
    with pytest.raises(ValueError, match="person 1: is in no frame"):
        replace(one, **rows)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"frames": 0}, r"walk\.mp4: 0 frames of size \(640, 360\)"),
        ({"size": (0, 360)}, r"30 frames of size \(0, 360\)"),
        ({"size": (640, 2**63)}, r"30 frames of size \(640, 9223372036854775808\)"),
        ({"fps": 0.0}, "fps is 0"),
        ({"fps": np.nan}, "fps is nan"),
        ({"focal_px": -1.0}, "focal_px is -1"),
        ({"focal_origin": "said so"}, "focal_origin is 'said so', not one of"),
        ({"frames": 29}, r"times: expected \(29,\)"),
        ({"times": even(30)[::-1].copy()}, "times must increase"),
        ({"times": np.append(even(29), np.inf)}, "times: has numbers that are not finite"),
        ({"times": even(30) + 0.001}, "person 1 has other times than the clip"),
        ({"up": np.array([0.0, -2.0, 0.0])}, r"up .* is not a unit vector"),
        ({"up": np.zeros(4)}, r"up: expected \(3,\)"),
        ({"provenance": {"size": (1, 2)}}, "provenance holds more than JSON does"),
        ({"provenance": {"loss": float("nan")}}, "not JSON compliant"),
        ({"people": walk().people * 2}, "two people have the same id"),
        ({"people": walk(31).people}, "person 1 is outside of the clip's 30 frames"),
    ],
)
def test_clips_that_do_not_fit_together(fields, message):
    with pytest.raises(ValueError, match=message):
        replace(walk(), **fields)


def test_all_people_have_the_same_2d_skeleton():
    times = even(3)
    first, second = person(times, [0, 1]), person(times, [2], number=2)
    cut = {name: getattr(second, name)[:, :14] for name in ("xy", "score", "filled")}
    with pytest.raises(ValueError, match="people have different 2D skeletons"):
        clip(first, replace(second, skeleton2d=LSP14, **cut), times=times)

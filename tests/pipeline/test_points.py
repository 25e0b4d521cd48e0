"""Files in the manner of each detector come back as their people; every other file is one clear error."""

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline import points
from pipeline.errors import DataError, InputError
from pipeline.points import LAYOUTS, PersonPoints, follow, read_points, to_liftable
from pipeline.skeleton import BLAZEPOSE33, BODY25, COCO17, COCO18, H36M16, HALPE26, SKELETONS, Skeleton

SIZE = (640, 480)


def body(joints: int, *, at: tuple[float, float] = (300, 200), height: float = 200, seed: int = 0) -> np.ndarray:
    """Any pose (J, 2), pixels, in a box of that height and half as wide, with its corners taken."""
    spread = np.random.default_rng(seed).uniform(0, 1, (joints, 2))
    spread[:2] = (0, 0), (1, 1)
    return np.round(at + spread * (height / 2, height), 2)


def flat(xy: np.ndarray, score: float = 0.75) -> list[float]:
    """x, y, confidence of every keypoint, one after the other."""
    return np.column_stack([xy, np.full(len(xy), score)]).ravel().tolist()


def entry(image: Any, xy: np.ndarray, **more: Any) -> dict[str, Any]:
    """A person as AlphaPose and COCO's results have it."""
    return {"image_id": image, "category_id": 1, "keypoints": flat(xy), "score": 2.9, **more}


def instance(xy: np.ndarray, score: float = 0.75) -> dict[str, Any]:
    """A person as MMPose has it."""
    return {"keypoints": xy.tolist(), "keypoint_scores": [score] * len(xy), "bbox": [[0, 0, 9, 9]], "bbox_score": 0.9}


def written(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def openpose(folder: Path, frames: dict[int, list[dict[str, Any]]]) -> Path:
    """A folder as OpenPose writes it."""
    for number, people in frames.items():
        written(folder / f"walk_{number:012d}_keypoints.json", {"version": 1.3, "people": people})
    return folder


def landmarks(xy: np.ndarray, visibility: float = 0.75) -> list[dict[str, float]]:
    """MediaPipe's landmarks for positions in pixels: the picture's corners are (-0.5, -0.5) and size - 0.5."""
    x, y = ((xy + 0.5) / SIZE).T
    return [{"x": a, "y": b, "z": -0.1, "visibility": visibility} for a, b in zip(x, y, strict=True)]


def read(path: Path, layout: str = "coco") -> list[PersonPoints]:
    people = read_points(path, layout=layout, size=SIZE, fps=25)
    for person in people:
        assert person.id >= 1
        assert (person.xy.dtype, person.score.dtype, person.frame.dtype.kind) == (np.float32, np.float32, "i")
        assert person.frame.min() >= 0
        assert 0 <= person.score.min() <= person.score.max() <= 1
        missing = np.isnan(person.xy)
        np.testing.assert_array_equal(missing.any(-1), missing.all(-1))
        np.testing.assert_array_equal(missing.any(-1), person.score == 0)
        assert not missing.all((1, 2)).any()
    assert len({person.id for person in people}) == len(people) >= 1
    return people


def only(path: Path, layout: str = "coco") -> PersonPoints:
    (person,) = read(path, layout)
    return person


# The ways to write frames 0 to 3 with one person: name -> (layout, skeleton, writer of a file).
def as_alphapose(path: Path, poses: list[np.ndarray]) -> Path:
    return written(path / "alphapose-results.json", [entry(f"{t}.jpg", xy, idx=0) for t, xy in enumerate(poses)])


def as_annotations(path: Path, poses: list[np.ndarray]) -> Path:
    found = [entry(t, xy, num_keypoints=17) for t, xy in enumerate(poses)]
    return written(path / "labels.json", {"images": [], "annotations": found})


def as_mmpose(path: Path, poses: list[np.ndarray]) -> Path:
    frames = [{"frame_id": t + 1, "instances": [instance(xy)]} for t, xy in enumerate(poses)]
    names = {"0": "nose", "1": "left_eye"}
    return written(path / "results.json", {"meta_info": {"keypoint_id2name": names}, "instance_info": frames})


def as_mmpose_list(path: Path, poses: list[np.ndarray]) -> Path:
    return written(path / "walk.json", [{"frame_id": t, "instances": [instance(xy)]} for t, xy in enumerate(poses)])


def as_mmpose_folder(path: Path, poses: list[np.ndarray]) -> Path:
    for t, xy in enumerate(poses):
        written(path / "predictions" / f"frame_{t + 1:06d}.json", [instance(xy)])
    return path / "predictions"


def as_openpose(path: Path, poses: list[np.ndarray]) -> Path:
    people = [[{"person_id": [-1], "pose_keypoints_2d": flat(xy), "face_keypoints_2d": []}] for xy in poses]
    return openpose(path / "json", dict(enumerate(people)))


def as_list_of_landmarks(path: Path, poses: list[np.ndarray]) -> Path:
    return written(path / "pose.json", [landmarks(xy) for xy in poses])


def as_frames_of_landmarks(path: Path, poses: list[np.ndarray]) -> Path:
    frames = [{"frame": t, "pose_landmarks": [landmarks(xy)]} for t, xy in enumerate(poses)]
    return written(path / "pose.json", {"fps": 30, "frames": frames})


def as_numbered_landmarks(path: Path, poses: list[np.ndarray]) -> Path:
    return written(path / "pose.json", {str(t): {"landmark": landmarks(xy)} for t, xy in enumerate(poses)})


def as_rows_of_landmarks(path: Path, poses: list[np.ndarray]) -> Path:
    rows = [[[*mark.values()] for mark in landmarks(xy)] for xy in poses]
    return written(path / "pose.json", [{"timestamp_ms": 40 * t, "landmarks": row} for t, row in enumerate(rows)])


WAYS = [
    ("coco", COCO17, 17, as_alphapose),
    ("coco", COCO17, 17, as_annotations),
    ("coco", COCO17, 17, as_mmpose),
    ("coco", COCO17, 133, as_mmpose_list),
    ("coco", COCO17, 17, as_mmpose_folder),
    ("halpe", HALPE26, 26, as_alphapose),
    ("halpe", HALPE26, 136, as_alphapose),
    ("halpe", HALPE26, 26, as_mmpose),
    ("openpose", BODY25, 25, as_openpose),
    ("openpose", COCO18, 18, as_openpose),
    ("blazepose", BLAZEPOSE33, 33, as_list_of_landmarks),
    ("blazepose", BLAZEPOSE33, 33, as_frames_of_landmarks),
    ("blazepose", BLAZEPOSE33, 33, as_numbered_landmarks),
    ("blazepose", BLAZEPOSE33, 33, as_rows_of_landmarks),
]
NAMES = [f"{writer.__name__[3:]}-{count}" for _, _, count, writer in WAYS]


@pytest.mark.parametrize(("layout", "skeleton", "count", "write"), WAYS, ids=NAMES)
def test_one_person_comes_back(tmp_path, layout, skeleton, count, write):
    poses = [body(count, at=(200 + 5 * t, 100)) for t in range(4)]
    person = only(write(tmp_path, poses), layout)
    assert person.skeleton is skeleton
    assert person.id == 1
    assert person.frame.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(person.xy, np.stack(poses)[:, : len(skeleton)], atol=1e-4)
    np.testing.assert_array_equal(person.score, np.float32(0.75))


@pytest.mark.parametrize(("layout", "skeleton", "count", "write"), WAYS, ids=NAMES)
def test_another_layout_is_named(tmp_path, layout, skeleton, count, write):
    path = write(tmp_path, [body(count)])
    for wrong in LAYOUTS:
        if wrong != layout:
            with pytest.raises((DataError, InputError)) as caught:
                read_points(path, layout=wrong, size=SIZE, fps=25)
            assert str(path) in str(caught.value)
            assert "\n" not in str(caught.value)


def test_landmarks_span_the_picture(tmp_path):
    corners = [{"x": 1e-9, "y": 1e-9}, {"x": 1, "y": 1, "visibility": 0.5}, *[{"x": 0.5, "y": 0.5}] * 31]
    person = only(written(tmp_path / "p.json", [corners]), "blazepose")
    np.testing.assert_allclose(person.xy[0, :3], [(-0.5, -0.5), (639.5, 479.5), (319.5, 239.5)], atol=1e-4)
    assert person.score[0, :3].tolist() == [1, 0.5, 1]


def test_frames_of_landmarks_without_a_person(tmp_path):
    frames = [None, [], {"landmarks": None}, {"pose_landmarks": []}, {"other": 1}, landmarks(body(33))]
    assert only(written(tmp_path / "p.json", frames), "blazepose").frame.tolist() == [5]


def test_times_become_frames_by_the_rate(tmp_path):
    frames = [{"timestamp_ms": ms, "landmarks": landmarks(body(33))} for ms in (0, 33, 66, 100, 1000)]
    path = written(tmp_path / "p.json", frames)
    (person,) = read_points(path, layout="blazepose", size=SIZE, fps=30)
    assert person.frame.tolist() == [0, 1, 2, 3, 30]


@pytest.mark.parametrize(
    ("labels", "frames"),
    [
        ([0, 1, 5], [0, 1, 5]),
        ([1, 2, 5], [0, 1, 4]),  # counted from 1
        ([2, 3, 5], [2, 3, 5]),
        ([7, 3.0, 5], [3, 5, 7]),
        (["0.jpg", "10.jpg", "9.jpg"], [0, 9, 10]),
        (["clip2_frame_000001.png", "clip2_frame_000012.png"], [0, 11]),
        (["s/1/000000000004", "s/1/000000000005"], [4, 5]),
        (["clip.0004", "clip.0007.jp2"], [4, 7]),
    ],
)
def test_frames_are_numbered_as_the_file_has_them(tmp_path, labels, frames):
    path = written(tmp_path / "p.json", [entry(label, body(17)) for label in labels])
    assert only(path).frame.tolist() == frames


def test_frames_without_people_tell_where_counting_starts(tmp_path):
    person = {"pose_keypoints_2d": flat(body(25))}
    folder = openpose(tmp_path / "a", {0: [], 1: [person], 2: [{"pose_keypoints_2d": []}], 4: [person]})
    assert only(folder, "openpose").frame.tolist() == [1, 4]
    frames = [{"frame_id": t, "instances": [instance(body(17))] if t % 2 else []} for t in range(4)]
    assert only(written(tmp_path / "m.json", frames)).frame.tolist() == [1, 3]


def test_missing_keypoints(tmp_path):
    first, second = flat(body(17)), flat(body(17))
    first[0:3] = 0, 0, 0.9
    first[3:6] = 50, 60, 0
    first[6:9] = float("nan"), 60, 0.9
    first[9:12] = None, None, None
    first[12:15] = 50, 60, float("nan")
    first[15:18] = 50, 60, -0.01
    first[18:21] = 0, 60, 0.9  # known: only one of the two is 0
    path = written(tmp_path / "p.json", [{"image_id": t, "keypoints": k} for t, k in enumerate((first, second))])
    person = only(path)
    assert np.flatnonzero(np.isnan(person.xy[0, :, 0])).tolist() == [0, 1, 2, 3, 4, 5]
    assert person.xy[0, 6].tolist() == [0, 60]
    assert np.isfinite(person.xy[1]).all()


def test_who_has_no_keypoints_is_left_out(tmp_path):
    nobody = {"image_id": 0, "keypoints": [0] * 51}
    assert only(written(tmp_path / "p.json", [nobody, entry(3, body(17))])).frame.tolist() == [3]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.2, 0.5, 1.08], [0.2, 0.5, 1]),  # a heatmap's peak
        ([1, 2, 2], [0.5, 1, 1]),  # COCO's visibility
        ([90, 45, 9], [1, 0.5, 0.1]),  # percent
    ],
)
def test_scales_of_scores(tmp_path, scores, expected):
    keypoints = body(17).tolist()
    rows = [[*xy, scores[i % 3]] for i, xy in enumerate(keypoints)]
    person = only(written(tmp_path / "p.json", [{"image_id": 0, "keypoints": rows}]))
    np.testing.assert_allclose(person.score[0, :3], expected, atol=1e-6)


def test_positions_without_scores_are_sure(tmp_path):
    assert (only(written(tmp_path / "p.json", [{"image_id": 0, "keypoints": body(17).tolist()}])).score == 1).all()


@pytest.mark.parametrize("key", ["idx", "person_id", "track_id"])
@pytest.mark.parametrize("wrap", [int, lambda n: [n], float, str], ids=["int", "list", "float", "text"])
def test_the_files_own_numbers_tell_people_apart(tmp_path, key, wrap):
    here, there = body(17, at=(50, 50)), body(17, at=(400, 50), height=100)
    found = [entry(t, xy, **{key: wrap(n)}) for t in (0, 1, 2) for n, xy in ((7, here), (4, there))]
    found[2]["keypoints"], found[3]["keypoints"] = found[3]["keypoints"], found[2]["keypoints"]  # in frame 1 they swap
    people = read(written(tmp_path / "p.json", found))
    assert [person.id for person in people] == [7, 4]  # 7 is larger in two frames of three
    np.testing.assert_allclose(people[0].xy, [here, there, here], atol=1e-4)


def test_numbers_from_zero_become_numbers_from_one(tmp_path):
    found = [entry(t, body(17, at=(50 + 300 * n, 50), height=100 + n), idx=n) for t in (0, 1) for n in (0, 1)]
    assert [person.id for person in read(written(tmp_path / "p.json", found))] == [2, 1]


@pytest.mark.parametrize("ids", [{"idx": 0}, {"idx": -1}, {"idx": None}, {"idx": "x"}, {}], ids=str)
def test_people_are_followed_where_numbers_say_nothing(tmp_path, ids):
    found = []
    for t in range(10):
        left, right = body(17, at=(20 + 8 * t, 50), seed=1), body(17, at=(400, 60), height=150, seed=2)
        found += [entry(t, xy, **ids) for xy in ((left, right) if t % 2 else (right, left))]
    people = read(written(tmp_path / "p.json", found))
    assert [len(person) for person in people] == [10, 10]
    np.testing.assert_allclose(people[0].xy[:, 0, 0], 20 + 8 * np.arange(10), atol=1e-4)
    np.testing.assert_allclose(people[1].xy[:, 0, 0], 400, atol=1e-4)


def test_one_number_is_not_enough_for_all(tmp_path):
    found = [entry(0, body(17), idx=5), entry(1, body(17))]
    assert only(written(tmp_path / "p.json", found)).id == 1


def test_a_person_twice_in_a_frame_is_the_surer_one(tmp_path):
    unsure, sure = body(17, at=(100, 100), seed=1), body(17, at=(300, 100), seed=2)
    found = [entry(0, unsure, idx=3, score=1.5), entry(0, sure, idx=3, score=2.5), entry(1, unsure, idx=3)]
    np.testing.assert_allclose(only(written(tmp_path / "p.json", found)).xy, [sure, unsure], atol=1e-4)
    found = [{"image_id": 0, "idx": 3, "keypoints": flat(xy, c)} for xy, c in ((sure, 0.5), (unsure, 0.4))]
    np.testing.assert_allclose(only(written(tmp_path / "p.json", found)).xy, [sure], atol=1e-4)


def test_the_longest_and_largest_comes_first(tmp_path):
    heights = {1: (100,) * 3, 2: (250,), 3: (90,) * 4}  # sums 300, 250, 360
    found = [entry(t, body(17, height=h), idx=n) for n, sizes in heights.items() for t, h in enumerate(sizes)]
    assert [person.id for person in read(written(tmp_path / "p.json", found))] == [3, 1, 2]


def test_follow_by_hand():
    square = np.array([(0, 0), (0, 100), (50, 0), (50, 100)], float)  # of extent 100
    frame = np.array([0, 1, 1, 2, 2, 3])
    moved = np.array([(0, 0), (0, 51), (0, 49), (0, 40), (0, 92), (300, 0)], float)
    xy = square + moved[:, None]
    # 49 is near enough to 0, 51 is not and is new; of the next two 40 is 9 from 49, then 92 is 41 from 51.
    assert follow(frame, xy, every_frame=np.arange(4)).tolist() == [1, 2, 1, 1, 2, 3]


def test_follow_compares_joints_that_both_have():
    first, second, other = np.full((3, 4, 2), np.nan)
    first[:3] = (0, 0), (0, 100), (50, 0)
    second[1:] = (0, 110), (50, 10), (70, 70)  # 10 from the first at the two joints they share
    other[3] = (0, 0)  # shares none with the first
    assert follow(np.array([0, 1]), np.stack([first, second]), every_frame=np.arange(2)).tolist() == [1, 1]
    assert follow(np.array([0, 1]), np.stack([first, other]), every_frame=np.arange(2)).tolist() == [1, 2]


@pytest.mark.parametrize(("absent", "ids"), [(points.FORGET - 1, [1, 1]), (points.FORGET, [1, 2])])
def test_a_person_is_forgotten_after_some_frames(absent, ids):
    frame, xy = np.array([0, absent + 1]), np.stack([body(17)] * 2)
    assert follow(frame, xy, every_frame=np.arange(absent + 2)).tolist() == ids
    # Frames that the file does not have do not count: it may hold every hundredth one only.
    assert follow(100 * frame, xy, every_frame=100 * frame).tolist() == [1, 1]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_follow_neither_merges_people_nor_depends_on_the_order(data):
    people, frames = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 6))
    seen = np.array(data.draw(st.lists(st.booleans(), min_size=people * frames, max_size=people * frames)))
    t, who = (axis.ravel()[seen] for axis in np.mgrid[:frames, :people])
    xy = np.stack([body(17, at=(1000.0 * n + 10 * k, 0), seed=n) for k, n in zip(t, who, strict=True)] or [body(17)])
    t, who = (t, who) if len(t) else (np.zeros(1, int), np.zeros(1, int))
    order = np.array(data.draw(st.permutations(range(len(t)))))
    ids = follow(t[order], xy[order], every_frame=np.arange(frames))
    assert len({*zip(who[order].tolist(), ids.tolist(), strict=True)}) == len(set(who)) == len(set(ids))


@pytest.mark.parametrize("skeleton", [COCO17, HALPE26, BODY25, COCO18, BLAZEPOSE33], ids=lambda s: s.name)
def test_liftable_points_by_hand(skeleton):
    xy = np.stack([body(len(skeleton), seed=seed) for seed in range(3)]).astype(np.float32)
    score = np.random.default_rng(0).uniform(0.1, 1, xy.shape[:2]).astype(np.float32)
    person = PersonPoints(4, skeleton, np.array([2, 3, 9]), xy, score)
    result = to_liftable(person)
    assert (result.id, result.skeleton, result.frame.tolist()) == (4, H36M16, [2, 3, 9])
    assert (result.xy.dtype, result.score.dtype) == (np.float32, np.float32)
    at = {joint: xy[:, i] for i, joint in enumerate(skeleton.joints)}
    sure = {joint: score[:, i] for i, joint in enumerate(skeleton.joints)}
    hips, shoulders = (at["l_hip"] + at["r_hip"]) / 2, (at["l_shoulder"] + at["r_shoulder"]) / 2
    expected = {joint: at[joint] for joint in H36M16.joints if joint in at}
    expected["pelvis"], expected["thorax"] = at.get("pelvis", hips), at.get("neck", shoulders)
    expected["spine"] = (expected["pelvis"] + expected["thorax"]) / 2
    for joint, place in expected.items():
        np.testing.assert_allclose(result.xy[:, H36M16.index(joint)], place, rtol=1e-5)
    top = H36M16.index("head_top")
    assert np.isnan(result.xy[:, top]).all() == ("head_top" not in at)
    np.testing.assert_array_equal(result.score[:, top], sure.get("head_top", 0))
    np.testing.assert_array_equal(np.isnan(result.xy).any(-1), result.score == 0)
    np.testing.assert_array_equal(result.score[:, H36M16.index("l_knee")], sure["l_knee"])


def test_what_hangs_on_a_missing_joint_is_missing():
    xy, score = body(17)[None].astype(np.float32), np.ones((1, 17), np.float32)
    xy[0, COCO17.index("l_hip")], score[0, COCO17.index("l_hip")] = np.nan, 0
    result = to_liftable(PersonPoints(1, COCO17, np.array([0]), xy, score))
    missing = {H36M16.joints[i] for i in np.flatnonzero(result.score[0] == 0)}
    assert missing == {"l_hip", "pelvis", "spine", "head_top"}
    np.testing.assert_array_equal(np.isnan(result.xy[0]).any(-1), result.score[0] == 0)


def test_liftable_points_need_a_body():
    hand = Skeleton("hand", ("wrist",), (-1,))
    with pytest.raises(InputError, match="skeleton hand has no joint"):
        to_liftable(PersonPoints(1, hand, np.array([0]), np.zeros((1, 1, 2)), np.ones((1, 1))))


def test_impossible_points_are_refused():
    xy, score = np.zeros((2, 17, 2)), np.zeros((2, 17))
    with pytest.raises(ValueError, match="person 1: xy"):
        PersonPoints(1, COCO17, np.arange(3), xy, score)
    with pytest.raises(ValueError, match="person 1: frame indices must increase"):
        PersonPoints(1, COCO17, np.zeros(2, int), xy, score)


def refused(path: Path, layout: str, message: str, *, error: type[Exception] = DataError, **more: Any) -> None:
    """Reading fails with one line that names the file and holds the message."""
    with pytest.raises(error, match=message) as caught:
        read_points(path, layout=layout, **{"size": SIZE, "fps": None, **more})
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


GOOD = flat(body(17))
BAD_FILES = [
    ("coco", [entry(0, body(26))], "--format coco has 17 or 133 keypoints, found 26; use --format halpe"),
    ("coco", [entry(0, body(25))], "found 25; use --format openpose"),
    ("coco", [entry(0, body(21))], "found 21; no --format has so many"),
    ("halpe", [entry(0, body(17))], "--format halpe has 26 or 136 keypoints, found 17; use --format coco"),
    ("blazepose", [landmarks(body(17))], "--format blazepose has 33 keypoints, found 17; use --format coco"),
    ("coco", [], "has no people; does --format coco fit"),
    ("blazepose", [{"pose": []}], "has no people; does --format blazepose fit"),
    ("coco", {}, "has neither instance_info nor annotations"),
    ("coco", 7, "the file should be a list, found a number"),
    ("coco", [GOOD], "entry 0 should be an object, found a list"),
    ("coco", [{"keypoints": GOOD}], "entry 0 has no image_id; number the frames"),
    ("coco", [{"image_id": "cat.jpg", "keypoints": GOOD}], "'cat.jpg' holds no frame number"),
    ("coco", [{"image_id": -3, "keypoints": GOOD}], "-3 holds no frame number"),
    ("coco", [{"image_id": True, "keypoints": GOOD}], "True holds no frame number"),
    ("coco", [{"image_id": 0.5, "keypoints": GOOD}], "0.5 holds no frame number"),
    ("coco", [{"image_id": 10**10, "keypoints": GOOD}], "10000000000 holds no frame number"),
    ("coco", [{"image_id": "1" * 9999, "keypoints": GOOD}], r"111\.\.\. holds no frame number"),
    ("coco", [{"image_id": 0}], "keypoints of a person in frame 0 should be a list, found null"),
    ("coco", [{"image_id": 0, "keypoints": "x"}], "should be a list, found a text"),
    ("coco", [{"image_id": 0, "keypoints": ["1", *GOOD[1:]]}], "should be numbers in lists of equal length"),
    ("coco", [{"image_id": 0, "keypoints": [True, *GOOD[1:]]}], "should be numbers in lists of equal length"),
    ("coco", [{"image_id": 0, "keypoints": [[1, 2], [3]]}], "should be numbers in lists of equal length"),
    ("coco", [{"image_id": 0, "keypoints": [10**400, *GOOD[1:]]}], "hold a number that is too large"),
    ("coco", [{"image_id": 0, "keypoints": GOOD[:-1]}], "should be x, y, confidence for each, found 50 numbers"),
    ("coco", [{"image_id": 0, "keypoints": [[1, 2, 3, 4]] * 17}], r"should be \[x, y\] or \[x, y, confidence\] each"),
    ("coco", [{"frame_id": 0, "instances": {}}], "instances of frame 0 should be a list, found an object"),
    ("coco", [{"image_id": 0, "keypoints": body(17).tolist(), "keypoint_scores": [1]}], "17 keypoints, but 1 scores"),
    ("coco", [entry(0, body(17) / 640)], "positions go only up to 0.* write them in pixels"),
    ("coco", [entry(0, body(17) * 1e5)], "a position of .* is in no picture"),
    ("coco", [{"image_id": 0, "keypoints": [0.0] * 51}], "all keypoints are missing"),
    ("coco", [entry(4, body(17))] * 201, "more than 200 people in frame 4"),
    ("coco", {"meta_info": {"keypoint_id2name": {"0": "root"}}}, "the first keypoint is 'root', not the nose"),
    ("blazepose", "x", "the file should be a list, found a text"),
    ("blazepose", {"landmarks": []}, "'landmarks' holds no frame number"),
    ("blazepose", [{"landmarks": {"nose": {}}}], "has no people"),
    ("blazepose", [[{"x": 0.5}, *landmarks(body(33)[1:])], 3], "landmarks of frame 1 should be a list, found a number"),
    ("blazepose", [[[1]] * 33], "should be {x, y, visibility} each"),
    ("blazepose", [[[{"x": 1}], 3]], "landmarks of frame 0 should be a list, found a number"),
    ("blazepose", [[{"x": 300, "y": 200}] * 33], "positions go up to 300; write them from 0 to 1"),
    ("blazepose", [{"timestamp_ms": "soon"}], "frames have times but no numbers; give the frame rate"),
]


@pytest.mark.parametrize(("layout", "content", "message"), BAD_FILES, ids=[message for *_, message in BAD_FILES])
def test_a_file_that_is_not_as_it_should_be(tmp_path, layout, content, message):
    error = InputError if "frame rate" in message else DataError
    refused(written(tmp_path / "poses.json", content), layout, message, error=error)


def test_times_that_are_none(tmp_path):
    for stamp in ("soon", -1, float("nan"), 1e300, [], None):
        path = written(tmp_path / "p.json", [{"timestamp_ms": stamp, "landmarks": landmarks(body(33))}])
        refused(path, "blazepose", "timestamp_ms of entry 0 is not a time", fps=30)


@pytest.mark.parametrize("text", ["", "no", "{", b"\xff\xfe\xfa", '[{"image_id": ' + "1" * 5000 + "}]", "[1}\n\n"])
def test_what_is_not_json(tmp_path, text):
    path = tmp_path / "poses.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    for layout in ("coco", "halpe", "blazepose"):
        refused(path, layout, "is not valid JSON .*; write it anew")


def test_deep_nesting(tmp_path):
    path = tmp_path / "poses.json"
    path.write_text("[" * 200_000 + "]" * 200_000)
    refused(path, "coco", "is nested too deeply")
    path.write_text('[{"image_id": 0, "keypoints": ' + "[" * 90 + "1" + "]" * 90 + "}]")
    refused(path, "coco", "should be numbers in lists of equal length")


def test_a_huge_file_is_not_read(tmp_path):
    path = tmp_path / "poses.json"
    path.touch()
    os.truncate(path, 2**29 + 1)  # a hole: takes no space
    limit = "more than the limit of 512 MB; give a part of it, or set POSECLI_MAX_MEGABYTES"
    refused(path, "coco", f"holds 513 MB, {limit}")


def test_a_huge_folder_is_not_read(tmp_path, monkeypatch):
    folder = openpose(tmp_path / "json", {t: [{"pose_keypoints_2d": flat(body(25))}] for t in range(3)})
    size = (folder / "walk_000000000000_keypoints.json").stat().st_size
    monkeypatch.setenv("POSECLI_MAX_MEGABYTES", str(2 * size / 2**20))
    refused(folder, "openpose", "more than the limit of")


def test_folders(tmp_path):
    person = {"pose_keypoints_2d": flat(body(25))}
    folder = openpose(tmp_path / "json", {3: [person]})
    (folder / ".hidden_9.json").write_text("not for us")
    (folder / "notes.txt").write_text("nor this")
    assert only(folder, "openpose").frame.tolist() == [3]
    written(folder / "run_000000000003_keypoints.json", {"people": [person]})
    refused(folder, "openpose", "run_.*json and walk_.*json are both frame 3; keep one clip in a folder")
    written(tmp_path / "named" / "frame_keypoints.json", {"people": [person]})
    refused(tmp_path / "named", "openpose", "'frame_keypoints' holds no frame number")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "openpose", "has no .json files", error=InputError)
    refused(tmp_path / "empty", "blazepose", "is not a file", error=InputError)
    refused(folder / "notes.txt", "openpose", "is not a folder", error=InputError)
    (tmp_path / "empty" / "1.json").mkdir()
    refused(tmp_path / "empty", "openpose", "is not a file", error=InputError)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "the file should be an object, found a list"),
        ({}, "has no people; does --format fit"),
        ({"people": {}}, "people should be a list, found an object"),
        ({"people": [1]}, "a person should be an object, found a number"),
        ({"people": [{}]}, "pose_keypoints_2d should be a list, found null"),
        ({"people": [{"pose_keypoints_2d": ["a"] * 75}]}, "should be numbers"),
        ({"people": [{"pose_keypoints_2d": [1.0] * 74}]}, "found 74 numbers"),
        ({"people": [{"pose_keypoints_2d": GOOD}]}, "has 25 or 18 keypoints, found 17; use --format coco"),
        ({"people": []}, "has no people; does --format openpose fit"),
    ],
)
def test_a_folder_that_is_not_as_it_should_be(tmp_path, content, message):
    written(tmp_path / "json" / "0.json", content)
    refused(tmp_path / "json", "openpose", message)


def test_two_models_in_one_folder(tmp_path):
    folder = openpose(tmp_path, {t: [{"pose_keypoints_2d": flat(body(n))}] for t, n in enumerate((25, 18))})
    refused(folder, "openpose", "has keypoints of body25 and coco18; give the poses of one clip by one model")


def test_what_is_needed_besides_the_file(tmp_path):
    path = written(tmp_path / "p.json", [landmarks(body(33))])
    refused(path, "blazepose", "positions from 0 to 1; give the picture's size too", error=InputError, size=None)
    refused(tmp_path / "q.json", "coco", "no such file or folder", error=InputError)
    with pytest.raises(InputError, match="unknown --format 'yolo'; known: coco, halpe, openpose, blazepose"):
        read_points(path, layout="yolo", size=None, fps=None)


def test_a_file_that_cannot_be_read(tmp_path, monkeypatch):
    def fail(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    path = written(tmp_path / "p.json", [])
    monkeypatch.setattr(Path, "read_bytes", fail)
    refused(path, "coco", "cannot be read: Permission denied", error=InputError)


# Values and keys of the kind that the readers look at, put together in any way.
KEYS = (
    "image_id keypoints keypoint_scores score idx track_id instances frame_id instance_info meta_info annotations "
    "keypoint_id2name people pose_keypoints_2d person_id frames landmarks poses x y visibility timestamp_ms 0 1"
)
EDGES = [GOOD, body(17).tolist(), [1e308] * 51, [0.75] * 51, flat(body(25)), landmarks(body(33)), [[0.5] * 4] * 33]
LEAVES = st.one_of(
    st.sampled_from(EDGES),
    st.sampled_from([0, 1, -1, 10**400, 1e308, 5e-324, float("nan"), float("inf"), "", "1.jpg", "\ud800", "nose"]),
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS.split()), inner, max_size=5),
)
# A person of the right shape with wrong values reaches further than any JSON does.
VALUES = st.lists(st.floats(width=64) | st.sampled_from([0, 1e308, 10**400, 300.5]), min_size=51, max_size=51)
PERSON = st.fixed_dictionaries(
    {"image_id": st.integers(-1, 3) | st.sampled_from(["1.jpg", "2"]), "keypoints": VALUES},
    optional={"score": LEAVES, "idx": st.integers(-1, 3) | LEAVES, "keypoint_scores": VALUES.map(lambda v: v[:17])},
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=JSON | st.lists(PERSON, min_size=1, max_size=4), layout=st.sampled_from(LAYOUTS))
@example(content=[entry(0, body(17))], layout="coco")
def test_no_json_raises_anything_but_a_clear_error(tmp_path_factory, content, layout):
    folder = tmp_path_factory.mktemp("any")
    path = written(folder / "7.json", content)
    if layout in ("openpose", "halpe"):
        path = folder
    try:
        read(path, layout)
    except (DataError, InputError) as error:
        message = str(error)  # which error comes when is tested above
    else:
        return
    assert str(folder) in message
    assert "\n" not in message
    assert len(message) < len(str(path)) + 200


def test_layouts_lead_to_known_skeletons():
    assert set(LAYOUTS) == {"coco", "halpe", "openpose", "blazepose"}
    for skeleton in (COCO17, HALPE26, BODY25, COCO18, BLAZEPOSE33):
        assert SKELETONS[skeleton.name] is skeleton


def test_a_long_clip_takes_seconds(tmp_path):
    poses = [[body(17, at=(20.0 + 300 * n + t % 50, 50), seed=n) for n in (0, 1)] for t in range(500)]
    path = written(tmp_path / "p.json", [entry(t, xy) for t, pair in enumerate(poses) for xy in pair])
    start = time.process_time()
    people = read(path)
    assert time.process_time() - start < 5  # 0.2 s when written
    assert [len(person) for person in people] == [500, 500]

"""Figures of the whole program against truth, on poses made by hand."""

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from lifter.metrics import mpjpe
from lifter.predict import Lifter
from pipeline import eval_clips
from pipeline.camera import Intrinsics
from pipeline.clean import CleanTrack2D
from pipeline.errors import DataError
from pipeline.eval_clips import ClipScores, acceleration_error, in_contact, read_truth, score_clip, table
from pipeline.people import ClipPoses
from pipeline.place import CAMERA_UP, world_from_camera
from pipeline.poses import Track3D
from pipeline.run import Poses, Scene
from pipeline.skeleton import H36M17, LIMB_JOINTS
from pipeline.trajectory import Ground
from tests.pipeline.posed import walker

FPS, COUNT, SIZE = 30.0, 60, (640, 480)
CAMERA = Intrinsics.centred(700.0, *SIZE)
EYE = np.array([0.0, 1.4, -5.0])  # of the camera in the truth's world, m
NAMES = [*LIMB_JOINTS, "spine"]


def walk_before_camera(pan: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Joints (T, 17, 3), mm, camera axes, and E (T, 4, 4) of someone who walks before a camera that turns by `pan`."""
    world = walker(np.arange(COUNT) / FPS, turn=0.2)
    world[..., 2] -= world[..., 2].min()
    truth = (world / 1000)[..., [0, 2, 1]] * (1, 1, -1)  # x, y up, z
    views = np.tile(np.eye(4), (COUNT, 1, 1))
    turn = np.zeros((COUNT, 3, 3))
    turn[:, 0, 0] = turn[:, 2, 2] = np.cos(pan)
    turn[:, 0, 2], turn[:, 2, 0], turn[:, 1, 1] = -np.sin(pan), np.sin(pan), 1
    views[:, :3, :3] = turn
    views[:, :3, 3] = -np.einsum("tij,j->ti", turn, EYE * (1, 1, -1))
    seen = np.einsum("tij,tnj->tni", views[:, :3, :3], truth) + views[:, None, :3, 3]
    return 1000 * seen * (1, -1, -1), views


def write_truth(path: Path, xyz: np.ndarray, views: np.ndarray, **changes: object) -> Path:
    columns = [H36M17.index(name) for name in NAMES]
    uv = CAMERA.project(xyz)
    frames = [
        {
            "uv": uv[t, columns].tolist(),
            "xyz_cam_mm": xyz[t, columns].tolist(),
            "inside": [1] * len(NAMES),
            "E": views[t].tolist(),
        }
        for t in range(len(xyz))
    ]
    k = [[CAMERA.fx, 0, CAMERA.cx], [0, CAMERA.fy, CAMERA.cy], [0, 0, 1]]
    content = {"joints": NAMES, "frames": frames, "K": k} | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return path


class Exact(Lifter):
    """A lifter that knows the answer: the poses that it was given, times `scale`."""

    def __init__(self, xyz: np.ndarray, *, scale: float = 1.0) -> None:
        object.__setattr__(self, "answer", scale * (xyz - xyz[:, :1]))

    def lift(self, track, intrinsics, *, flip=True):
        return Track3D(H36M17, track.frame, track.time_s, self.answer[track.frame])


def poses_of(xyz: np.ndarray, lifter: Lifter, frame: np.ndarray | None = None, *, focal: float = 700.0) -> Poses:
    times = np.arange(len(xyz)) / FPS
    clip = ClipPoses("walk.mp4", SIZE, FPS, len(xyz), times, focal, "guess", CAMERA_UP)
    rows = np.arange(len(xyz)) if frame is None else frame
    xy = CAMERA.project(xyz)[rows]
    sure = np.ones(xy.shape[:2])
    track = CleanTrack2D(H36M17, rows, times[rows], xy, sure, SIZE, sure < 0)
    return Poses(clip, track, lifter.lift(track, CAMERA), (0.0, 0.0))


@pytest.fixture
def walk() -> tuple[np.ndarray, np.ndarray]:
    return walk_before_camera(np.zeros(COUNT))


def test_a_perfect_answer_has_the_figures_of_the_truth(walk, tmp_path):
    xyz, views = walk
    truth, lifter = read_truth(write_truth(tmp_path / "a_gt.json", xyz, views)), Exact(xyz)
    scores = score_clip(poses_of(xyz, lifter), truth, lifter)
    assert (scores.frames, scores.found, scores.pck) == (COUNT, COUNT, 100)
    assert scores.mpjpe_mm < 1e-6
    assert scores.mpjpe_true_focal_mm < 15  # smoothed at 6 Hz
    assert scores.pa_mpjpe_true_focal_mm < 15
    assert scores.root_mm < 60  # held on a floor that this walker does not keep to


@pytest.mark.parametrize("pan", [0.0, 0.4])
def test_a_perfect_place_in_the_world(tmp_path, monkeypatch, pan):
    xyz, views = walk_before_camera(pan * np.arange(COUNT) / COUNT)
    truth, lifter = read_truth(write_truth(tmp_path / "a_gt.json", xyz, views)), Exact(xyz)
    first = walk_before_camera(np.zeros(COUNT))[0]  # as the camera of the first frame sees it all
    ground = Ground(world_from_camera(CAMERA_UP), 1400.0)
    monkeypatch.setattr(eval_clips, "place_people", lambda *_, **__: Scene(ground, (), (ground.to_world(first),)))
    monkeypatch.setattr(eval_clips, "CONTACT_MM_S", 2000.0)  # this walker's feet are never still
    scores = score_clip(poses_of(xyz, lifter), truth, lifter)
    assert scores.accel_world_mm_s2 < 1e-3
    assert scores.skate_mm_s == pytest.approx(scores.skate_true_mm_s)
    assert scores.skate_true_mm_s > 100
    # the root's error is told in the axes of each frame's camera, from which the world is taken to be still
    gap = eval_clips._root((first - xyz)[:, H36M17.indices(LIMB_JOINTS)])
    assert scores.root_mm == pytest.approx(np.linalg.norm(gap, axis=-1).mean(), abs=1e-6)
    assert (scores.root_mm < 1e-6) == (pan == 0)


def test_a_body_too_large_is_too_far_until_it_is_scaled(walk, tmp_path):
    xyz, views = walk
    truth = read_truth(write_truth(tmp_path / "a_gt.json", xyz, views))
    plain, large = Exact(xyz), Exact(xyz, scale=1.2)
    one, other = (score_clip(poses_of(xyz, lifter), truth, lifter) for lifter in (plain, large))
    assert other.root_mm - one.root_mm > 0.15 * np.linalg.norm(truth.xyz, axis=-1).mean()
    assert other.root_scaled_mm == pytest.approx(one.root_scaled_mm, abs=20)


def test_the_true_focal_length_is_used_and_told_apart(walk, tmp_path):
    xyz, views = walk
    truth = read_truth(write_truth(tmp_path / "a_gt.json", xyz, views))
    asked = []

    class Asked(Exact):
        def lift(self, track, intrinsics, *, flip=True):
            asked.append(intrinsics.fx)
            return super().lift(track, intrinsics)

    lifter = Asked(xyz)
    guessed = replace(
        poses_of(xyz, lifter, focal=1000.0), lifted=Exact(xyz, scale=1.1).lift(poses_of(xyz, lifter).track, CAMERA)
    )
    asked.clear()
    scores = score_clip(guessed, truth, lifter)
    assert asked == [700.0]
    rooted = eval_clips.rooted(truth.xyz)
    assert scores.mpjpe_mm == pytest.approx(mpjpe(1.1 * rooted, rooted), rel=1e-6)
    assert scores.mpjpe_true_focal_mm < 0.5 * scores.mpjpe_mm


def test_the_world_stands_still_while_the_camera_turns(tmp_path):
    still, views = walk_before_camera(np.zeros(COUNT))
    turned, turned_views = walk_before_camera(0.4 * np.arange(COUNT) / COUNT)
    assert np.abs(still - turned).max() > 500
    worlds = [
        read_truth(write_truth(tmp_path / "a_gt.json", xyz, e)).world
        for xyz, e in ((still, views), (turned, turned_views))
    ]
    np.testing.assert_allclose(worlds[0], worlds[1], atol=1e-6)
    assert worlds[0][..., 2].min() == pytest.approx(0, abs=1e-6)  # the floor
    ankles = [LIMB_JOINTS.index("l_ankle"), LIMB_JOINTS.index("r_ankle")]
    shoulders = [LIMB_JOINTS.index("l_shoulder"), LIMB_JOINTS.index("r_shoulder")]
    assert worlds[0][:, shoulders, 2].min() > worlds[0][:, ankles, 2].max()
    # distances are those of the camera's axes, so nothing is mirrored or scaled
    gaps = [points[:, 0] - points[:, 5] for points in (worlds[0], still[:, H36M17.indices(LIMB_JOINTS)])]
    np.testing.assert_allclose(*(np.linalg.norm(gap, axis=-1) for gap in gaps))


def test_contact_by_hand():
    # mm from one tenth of a second to the next: 10 is slow (100 mm/s), 30 is not
    along = np.cumsum([0, 10, 10, 30, 10, 10])
    ankles = np.zeros((6, 1, 3))
    ankles[:, 0, 0] = along
    np.testing.assert_array_equal(in_contact(ankles, np.arange(6) / 10)[:, 0], [True, True, False, False, True, True])
    assert not in_contact(ankles[:1], np.zeros(1)).any()
    assert not in_contact(np.full((6, 1, 3), np.nan), np.arange(6) / 10)[1:-1].any()


def test_acceleration_by_hand():
    frame = np.array([0, 1, 2, 3, 7, 8])
    times = np.arange(9) / 10
    true, predicted = np.zeros((6, 2, 3)), np.zeros((6, 2, 3))
    predicted[2, 0] = (3, 4, 0)  # of the frames 1 and 2, whose neighbours are there: 5 and 10 mm per frame^2
    assert acceleration_error(predicted, true, frame, times) == pytest.approx((500 + 0 + 1000 + 0) / 4)
    predicted[4:] = 99  # after a gap
    assert acceleration_error(predicted, true, frame, times) == pytest.approx(375)
    assert acceleration_error(predicted + 7 * frame[:, None, None], true, frame, times) == pytest.approx(375)
    for few in ([0, 1], [0, 2, 4], [3]):
        assert np.isnan(acceleration_error(predicted[: len(few)], true[: len(few)], np.array(few), times))


def test_skating_is_that_of_our_own_world(walk, tmp_path, monkeypatch):
    xyz, views = walk
    truth, lifter = read_truth(write_truth(tmp_path / "a_gt.json", xyz, views)), Exact(xyz)
    poses, real = poses_of(xyz, lifter), eval_clips.place_people
    drift = np.arange(COUNT)[:, None, None] / FPS * (300.0, 400.0, 0.0)

    def drifting(*args, **options):
        scene = real(*args, **options)
        return replace(scene, worlds=(0 * scene.worlds[0] + drift,))

    monkeypatch.setattr(eval_clips, "place_people", drifting)
    monkeypatch.setattr(eval_clips, "CONTACT_MM_S", 1e9)  # always
    assert score_clip(poses, truth, lifter).skate_mm_s == pytest.approx(500)


def test_frames_without_a_person_do_not_count(walk, tmp_path):
    xyz, views = walk
    truth, lifter = read_truth(write_truth(tmp_path / "a_gt.json", xyz, views)), Exact(xyz)
    scores = score_clip(poses_of(xyz, lifter, np.arange(10, COUNT)), truth, lifter)
    assert scores.found == COUNT - 10
    assert scores.pck == pytest.approx(100 * (COUNT - 10) / COUNT)
    assert scores.root_mm < 60


def test_what_is_not_known_is_not_a_number(walk, tmp_path):
    xyz, views = walk
    lifter = Exact(xyz)
    poses = poses_of(xyz, lifter)
    no_k = score_clip(poses, read_truth(write_truth(tmp_path / "a_gt.json", xyz, views, K=None)), lifter)
    assert np.isfinite([no_k.pck, no_k.mpjpe_mm, no_k.pa_mpjpe_mm]).all()
    assert np.isnan([no_k.mpjpe_true_focal_mm, no_k.root_mm, no_k.skate_mm_s, no_k.accel_mm_s2]).all()
    frames = json.loads((write_truth(tmp_path / "b_gt.json", xyz, views)).read_text())["frames"]
    for frame in frames:
        del frame["E"]
    no_e = score_clip(poses, read_truth(write_truth(tmp_path / "b_gt.json", xyz, views, frames=frames)), lifter)
    assert np.isfinite([no_e.root_mm, no_e.accel_mm_s2]).all()
    assert np.isnan([no_e.skate_mm_s, no_e.skate_true_mm_s, no_e.accel_world_mm_s2]).all()
    nobody = score_clip(poses_of(xyz, lifter, np.arange(0)), read_truth(tmp_path / "b_gt.json"), lifter)
    assert (nobody.found, nobody.pck) == (0, 0)
    assert np.isnan(nobody.mpjpe_mm)


@pytest.mark.parametrize("changes", [{"joints": ["pelvis"]}, {"K": [1, 2]}, {"frames": 3}, {"frames": [{"uv": []}]}])
def test_a_file_that_is_no_truth(walk, tmp_path, changes):
    with pytest.raises(DataError, match=r"a_gt\.json: not a truth file"):
        read_truth(write_truth(tmp_path / "a_gt.json", *walk, **changes))


def test_a_truth_of_another_clip(walk, tmp_path):
    xyz, views = walk
    truth, lifter = read_truth(write_truth(tmp_path / "a_gt.json", xyz, views)), Exact(xyz)
    with pytest.raises(DataError, match="the truth has 60 frames, the clip 50"):
        score_clip(poses_of(xyz[:50], lifter), truth, lifter)


def test_the_table_has_every_figure_and_a_dash_where_there_is_none():
    scores = {field.name: float(row) for row, field in enumerate(fields(ClipScores), start=7)}
    lines = table(
        {"clips": {"a_long_name_of_a_clip": scores}, "mean": scores | {"skate_mm_s": float("nan")}}
    ).splitlines()
    assert lines[1].split()[0] == "a_long_name_of_a_clip"
    assert [float(cell) for cell in lines[1].split()[1:]] == list(scores.values())
    assert "-" in lines[2].split()
    assert len({len(line) for line in lines[:3]}) == 1


def test_the_mean_is_over_the_clips_that_have_the_figure():
    assert eval_clips.mean([1.0, float("nan"), 4.0]) == 2.5
    assert np.isnan(eval_clips.mean([float("nan")]))

"""`posecli render` and `posecli lift`: stored poses drawn again, and 2D poses of other detectors lifted."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lifter.normalise import Statistics
from lifter.predict import Lifter
from lifter.registry import build_lifter
from pipeline import posestore
from pipeline.bring import FORMATS, MAX_FRAMES
from pipeline.camera import Intrinsics
from pipeline.checkpoint import Checkpoint, save_checkpoint
from pipeline.clean import CleanTrack2D
from pipeline.device import share_processor
from pipeline.export import WRITERS
from pipeline.people import ClipPoses, Person
from pipeline.run import Models, complete, process_video
from pipeline.skeleton import BLAZEPOSE33, BODY25, COCO17, H36M16, H36M17, HALPE26, LIMB_JOINTS, LSP14, Skeleton
from pipeline.weights import find_weights
from tests.pipeline.clips import contents, make_clip
from tests.pipeline.posed import even, two_people
from tests.pipeline.test_handing_over import short_clip

FRAMES = 20
# Drawn it is 1014 px wide, 64 macroblocks. Where they are no multiple of 8, x264 (mbtree with AVX-512) reads memory
# that it never wrote, and now and then some pixels are not as in the file before; MALLOC_PERTURB_=1 shows it.
SIZE = (648, 364)
SIDES = f"{SIZE[0]}x{SIZE[1]}"
TOLD = ("--size", SIDES, "--fps", 30)
SKELETONS = {"coco": COCO17, "halpe": HALPE26, "openpose": BODY25, "blazepose": BLAZEPOSE33}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """in.mp4, a short piece of the demo; drawn.mp4 and poses.h5, what `posecli video` makes of it."""
    folder = tmp_path_factory.mktemp("demo")
    clip = short_clip(folder / "in.mp4", frames=FRAMES, size=SIZE)
    share_processor()
    models = Models.load(hourglass="hourglass-s", lifter="baseline", device=torch.device("cpu"))
    process_video(clip, folder / "drawn.mp4", models, exports=[folder / "poses.h5"])
    return folder


@pytest.fixture(scope="module")
def stored(folder) -> ClipPoses:
    return posestore.read(folder / "poses.h5")


def keypoints(one: Person, skeleton: Skeleton) -> np.ndarray:
    """The joints of a person that another layout has too, (T, J, 3): x, y and score; 0 for those it has not."""
    points = np.zeros((len(one), len(skeleton), 3))
    shared = tuple(joint for joint in skeleton.joints if joint in one.skeleton2d.joints)
    rows = one.skeleton2d.indices(shared)
    points[:, skeleton.indices(shared)] = np.concatenate([one.xy[:, rows], one.score[:, rows, None]], -1)
    if "pelvis" in skeleton.joints:
        hips = points[:, skeleton.indices(("l_hip", "r_hip"))]
        points[:, skeleton.index("pelvis")] = np.concatenate([hips.mean(1)[:, :2], hips[:, :, 2:].min(1)], -1)
    return points


def write_points(folder: Path, layout: str, *people: Person, size: tuple[int, int] = SIZE) -> Path:
    """The 2D of people as another detector would write it. Returns the file, or for 'openpose' the folder."""
    found = [keypoints(one, SKELETONS[layout]) for one in people]
    rows = [
        (int(frame), points[row]) for one, points in zip(people, found, strict=True)
        for row, frame in enumerate(one.frame)
    ]  # fmt: skip
    path = folder / f"{layout}.json"
    if layout == "openpose":
        path = folder / layout
        path.mkdir()
        for number, points in rows:
            content = {"people": [{"pose_keypoints_2d": points.ravel().tolist()}]}
            (path / f"in_{number:012d}_keypoints.json").write_text(json.dumps(content))
    elif layout == "blazepose":
        marks = {
            number: [[(x + 0.5) / size[0], (y + 0.5) / size[1], 0.0, score] for x, y, score in points.tolist()]
            for number, points in rows
        }
        path.write_text(json.dumps({"frames": marks}))
    else:
        path.write_text(json.dumps([{"image_id": n, "keypoints": points.ravel().tolist()} for n, points in rows]))
    return path


def apart(one: Person, other: Person) -> float:
    """Mean distance of the limb joints of two persons, mm, relative to the pelvis."""
    joints = H36M17.indices(LIMB_JOINTS)
    return float(np.linalg.norm(one.xyz[:, joints] - other.xyz[:, joints], axis=-1).mean())


def error_line(result) -> str:
    """The one line of an error."""
    assert result.code == 1
    assert "Traceback" not in result.err
    (line,) = [line for line in result.err.replace("\r", "\n").splitlines() if line.startswith("posecli:")]
    return line


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("command", ["render", "lift"])
def test_the_commands_explain_themselves(posecli, command):
    result = posecli(command, "--help")
    assert result.code == 0
    assert f"Usage: posecli {command}" in result.out
    assert "--video" in result.out


# Drawing again


def test_render_draws_what_video_drew(posecli, folder, tmp_path):
    out = tmp_path / "again.mp4"
    result = posecli("render", folder / "poses.h5", "--video", folder / "in.mp4", "--out", out)
    assert result.code == 0, result.err
    assert result.out.startswith(f"{FRAMES} frames, {FRAMES} with a person, ")
    assert result.out.endswith(f" -> {out}\n")
    first, again = contents(folder / "drawn.mp4"), contents(out)
    assert again.times == first.times == contents(folder / "in.mp4", times_only=True).times
    np.testing.assert_array_equal(again.images, first.images)


def test_render_draws_skeletons_on_both_sides(posecli, folder, tmp_path):
    out = tmp_path / "again.mp4"
    assert posecli("render", folder / "poses.h5", "--video", folder / "in.mp4", "--out", out).code == 0
    before, after = (contents(file).images[FRAMES // 2].astype(int) for file in (folder / "in.mp4", out))
    height, width = before.shape[:2]
    painted = np.abs(after[:height, :width] - before).max(-1) > 60
    assert 100 < painted.sum() < 0.1 * painted.size
    right = after[:, width:]
    assert (right[..., 0] - right[..., 2] > 80).sum() > 100  # blue: the left side of the body
    assert (right[..., 2] - right[..., 0] > 80).sum() > 100


def test_render_draws_two_people_in_the_frames_that_they_are_in(posecli, tmp_path):
    poses = replace(two_people(), size=(320, 240))
    posestore.write(tmp_path / "two.h5", poses)
    clip = make_clip(tmp_path / "in.mp4", images=[np.full((240, 320, 3), 100, np.uint8)] * poses.frames)
    result = posecli("render", tmp_path / "two.h5", "--video", clip, "--out", tmp_path / "out.mp4")
    assert result.code == 0, result.err
    assert result.out.startswith("24 frames, 24 with a person")
    right = [image[:, 322:].astype(int) for image in contents(tmp_path / "out.mp4").images]
    painted = [(np.abs(image[..., 0] - image[..., 2]) > 80).sum() for image in right]
    assert np.mean(painted[4:8]) > 1.5 * np.mean(painted[8:16])  # both, then person 3 alone


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((FRAMES - 1, *SIZE[::-1]), "has 19 frames, but {file} has poses for 20"),
        ((FRAMES + 1, *SIZE[::-1]), "has 21 frames, but {file} has poses for 20"),
        ((20, 180, 320), "is 320 x 180 pixels, but {file} has poses for 648 x 364"),
    ],
)
def test_render_wants_the_same_clip(posecli, folder, tmp_path, shape, words):
    other = make_clip(tmp_path / "other.mp4", images=list(np.full((*shape, 3), 100, np.uint8)))
    file = folder / "poses.h5"
    line = error_line(posecli("render", file, "--video", other, "--out", tmp_path / "out.mp4"))
    assert line == f"posecli: {other}: {words.format(file=file)}; give the clip that they were found in"
    assert left(tmp_path) == ["other.mp4"]


def test_render_names_the_file_that_is_wrong(posecli, folder, tmp_path):
    poses, clip, out = folder / "poses.h5", folder / "in.mp4", tmp_path / "out.mp4"
    for file, video, output, wrong in (
        (tmp_path / "none.h5", clip, out, f"{tmp_path}/none.h5: no such file"),
        (clip, clip, out, f"{clip}: not a readable file of poses"),
        (poses, tmp_path / "none.mp4", out, f"{tmp_path}/none.mp4: there is no such file"),
        (poses, clip, tmp_path / "none" / "out.mp4", f"{tmp_path}/none/out.mp4: there is no folder"),
        (poses, clip, clip, f"{clip}: is the video that is read"),
    ):
        line = error_line(posecli("render", file, "--video", video, "--out", output))
        assert line.startswith(f"posecli: {wrong}")
    assert left(tmp_path) == []


# Lifting what is stored


def test_the_same_lifter_finds_the_same_poses_again(posecli, folder, stored, tmp_path):
    out, again = tmp_path / "again.mp4", tmp_path / "again.h5"
    result = posecli(
        "lift", folder / "poses.h5", "--format", "h5", "--video", folder / "in.mp4", "--out", out, "--export", again
    )
    assert result.code == 0, result.err
    assert result.out.endswith(f" -> {out}, {again}\n")
    poses = posestore.read(again)
    for name in posestore.ARRAYS:
        expected = getattr(stored.people[0], name)
        np.testing.assert_allclose(getattr(poses.people[0], name), expected, rtol=0, atol=1e-3, err_msg=name)
    np.testing.assert_array_equal(poses.times, stored.times)
    assert poses.provenance == stored.provenance
    np.testing.assert_array_equal(contents(out).images, contents(folder / "drawn.mp4").images)


def test_another_lifter_finds_other_poses_in_the_same_picture(posecli, folder, stored, tmp_path):
    file = tmp_path / "gan.h5"
    result = posecli("lift", folder / "poses.h5", "--format", "h5", "--export", file, "--lifter", "gan", "--fov", 50)
    assert result.code == 0, result.err
    poses = posestore.read(file)
    np.testing.assert_array_equal(poses.people[0].xy, stored.people[0].xy)
    assert 1 < apart(poses.people[0], stored.people[0]) < 400
    assert poses.provenance["lifter"]["file"] == find_weights("lifter", "gan").name
    assert poses.provenance["detector"] == stored.provenance["detector"]
    assert poses.focal_origin == "--fov"
    assert poses.focal_px == pytest.approx(SIZE[0] / 2 / np.tan(np.radians(25)))


def test_people_are_lifted_as_many_as_asked(posecli, tmp_path):
    posestore.write(tmp_path / "two.h5", replace(two_people(), provenance={}))
    for options, ids in ([], [1]), (["--people", 2], [1, 3]), (["--people", 9], [1, 3]):
        result = posecli("lift", tmp_path / "two.h5", "--format", "h5", "--export", tmp_path / "out.h5", *options)
        assert result.code == 0, result.err
        poses = posestore.read(tmp_path / "out.h5")
        assert [one.id for one in poses.people] == ids
    assert poses.provenance["detector"] == {"file": "two.h5", "format": "h5"}


# Lifting what other detectors found


@pytest.fixture
def lift(posecli, tmp_path) -> Callable[..., ClipPoses]:
    """The poses after `posecli lift` with some options."""

    def run(file: Path, layout: str, *options: object) -> ClipPoses:
        result = posecli("lift", file, "--format", layout, "--export", tmp_path / "lifted.h5", *options)
        assert result.code == 0, result.err
        return posestore.read(tmp_path / "lifted.h5")

    return run


# mm, mean of the limbs. The lifter and the 2D are the video's, the 2D smoothed once more: 1 mm with Halpe, which has
# every joint. Without the top of the head, and with a thorax between the shoulders, it was 12 to 15 mm.
NEARLY = {"coco": 40, "halpe": 10, "openpose": 40, "blazepose": 40}


@pytest.mark.parametrize("layout", SKELETONS)
def test_every_format_gives_nearly_the_poses_of_the_video(lift, folder, stored, tmp_path, layout):
    file = write_points(tmp_path, layout, stored.people[0])
    poses = lift(file, layout, "--video", folder / "in.mp4", "--smooth", "light")
    (found,) = poses.people
    assert apart(found, stored.people[0]) < NEARLY[layout]
    assert (poses.source, poses.size, poses.frames, poses.fps) == ("in.mp4", SIZE, FRAMES, 30.0)
    np.testing.assert_array_equal(poses.times, stored.times)
    assert poses.provenance["detector"] == {"file": file.name, "format": layout}
    assert poses.provenance["lifter"] == stored.provenance["lifter"]
    limbs, theirs = H36M16.indices(LIMB_JOINTS), stored.people[0].skeleton2d.indices(LIMB_JOINTS)
    np.testing.assert_allclose(found.xy[:, limbs], stored.people[0].xy[:, theirs], atol=1.5)


def test_every_format_is_tried_here():
    assert set(FORMATS) == {*SKELETONS, "h5"}


def test_all_files_and_a_video_come_of_it(posecli, folder, stored, tmp_path):
    file = write_points(tmp_path, "halpe", stored.people[0])
    out, exports = tmp_path / "out.mp4", [tmp_path / f"p{ending}" for ending in WRITERS]
    words = [word for path in exports for word in ("--export", path)]
    result = posecli("lift", file, "--format", "halpe", "--video", folder / "in.mp4", "--out", out, *words)
    assert result.code == 0, result.err
    assert result.out.startswith(f"{FRAMES} frames, {FRAMES} with a person, jitter ")
    assert result.out.endswith(f" -> {', '.join(map(str, [out, *exports]))}\n")
    assert all(path.stat().st_size > 1000 for path in exports)
    assert contents(out, times_only=True).times == contents(folder / "in.mp4", times_only=True).times


def test_without_a_video_the_user_tells_size_and_rate(lift, stored, tmp_path):
    file = write_points(tmp_path, "coco", stored.people[0])
    poses = lift(file, "coco", "--size", SIDES, "--fps", 25, "--fov", 60)
    assert (poses.source, poses.size, poses.fps, poses.frames) == ("coco.json", SIZE, 25.0, FRAMES)
    np.testing.assert_allclose(poses.times, np.arange(FRAMES) / 25)
    assert poses.focal_px == pytest.approx(SIZE[0] / 2 / np.tan(np.radians(30)))


def test_height_and_smoothing_are_as_for_a_video(lift, stored, tmp_path):
    file = write_points(tmp_path, "halpe", stored.people[0])
    tall = lift(file, "halpe", *TOLD, "--height", 180).people[0]
    small = lift(file, "halpe", *TOLD, "--height", 90).people[0]
    np.testing.assert_allclose(tall.xyz, 2 * small.xyz, atol=0.01)
    rough = lift(file, "halpe", *TOLD, "--smooth", "off").people[0]
    calm = lift(file, "halpe", *TOLD, "--smooth", "strong").people[0]
    bends = [np.abs(np.diff(one.xyz, 2, axis=0)).mean() for one in (rough, calm)]
    assert bends[0] > 1.5 * bends[1]


def test_a_joint_that_was_never_seen_is_where_the_lifted_one_appears(lift, stored, tmp_path):
    file = write_points(tmp_path, "coco", stored.people[0])
    (found,) = lift(file, "coco", *TOLD).people
    top, knee = H36M16.index("head_top"), H36M16.index("l_knee")
    assert found.filled[:, top].all()
    assert (found.score[:, top] == 0).all()
    assert not found.filled[:, knee].any()
    their_top = stored.people[0].xy[:, stored.people[0].skeleton2d.index("head_top")]
    extent = np.ptp(stored.people[0].xy, axis=1).max()
    assert np.linalg.norm(found.xy[:, top] - their_top, axis=-1).max() < 0.2 * extent


def test_a_wrist_that_is_hidden_for_long_gets_a_place(lift, stored, tmp_path):
    hidden = slice(6, 20)  # 0.47 s, longer than what cleaning fills
    wrist, theirs = H36M16.index("r_wrist"), stored.people[0].skeleton2d.index("r_wrist")
    score = stored.people[0].score.copy()
    score[hidden, theirs] = 0
    file = write_points(tmp_path, "halpe", replace(stored.people[0], score=score))
    (found,) = lift(file, "halpe", *TOLD).people
    seen_before = np.arange(FRAMES) < 6
    np.testing.assert_array_equal(found.filled[:, wrist], ~seen_before)
    np.testing.assert_array_equal(found.score[:, wrist] > 0, seen_before)
    extent = np.ptp(stored.people[0].xy, axis=1).max()
    off = np.linalg.norm(found.xy[:, wrist] - stored.people[0].xy[:, theirs], axis=-1)
    assert off[seen_before].max() < 2
    assert off.max() < 0.4 * extent  # no further off than an arm can reach


def test_what_was_lifted_can_be_lifted_again(lift, stored, tmp_path):
    file = write_points(tmp_path, "coco", stored.people[0])
    first = lift(file, "coco", *TOLD)
    posestore.write(tmp_path / "first.h5", first)
    again = lift(tmp_path / "first.h5", "h5")
    np.testing.assert_allclose(again.people[0].xyz, first.people[0].xyz, atol=1e-3)
    np.testing.assert_allclose(again.people[0].xy, first.people[0].xy, atol=1e-3)


def test_two_people_share_a_floor(lift, stored, tmp_path):
    one = stored.people[0]
    beside = replace(one, id=2, xy=one.xy + np.array([250.0, 0.0]))
    poses = lift(write_points(tmp_path, "halpe", one, beside), "halpe", *TOLD, "--people", 2)
    assert len(poses.people) == 2
    left_one, right_one = sorted(poses.people, key=lambda person: person.world[:, 0, 0].mean())
    focal_mm = np.median(left_one.world[:, 0, 1]) / poses.focal_px
    assert np.median((right_one.world - left_one.world)[:, 0, 0]) == pytest.approx(250 * focal_mm, rel=0.3)
    for found in poses.people:
        assert np.abs(found.world[..., 2].min(1)).max() < 200


def test_a_place_for_what_is_missing():
    """By hand: the camera at focal length 100 px sees (1000, -500, 5000) mm at (20, -10) px from the middle."""
    camera = Intrinsics.centred(100.0, 201, 101)
    xy, points = np.full((3, 14, 2), 7.0), np.full((3, 17, 3), 5000.0)
    knee, wrist, neck = LSP14.indices(("l_knee", "r_wrist", "neck"))
    xy[:, [knee, neck]] = np.nan
    xy[:, wrist] = 31.0
    points[0, H36M17.index("l_knee")] = (1000, -500, 5000)
    points[1, H36M17.index("l_knee")] = (1000, -500, 50)  # in the camera's face
    points[2] = np.nan
    score = np.full((3, 14), 0.9)
    track = CleanTrack2D(LSP14, np.arange(3), even(3), xy, score, (201, 101), np.zeros((3, 14), bool))
    whole = complete(track, points, camera)
    np.testing.assert_allclose(whole.xy[0, knee], (120, 40))
    mean = (11 * 7 + 31) / 12
    np.testing.assert_allclose(whole.xy[1:, knee], mean)
    np.testing.assert_allclose(whole.xy[:, neck], mean)  # H36M17 has no neck
    np.testing.assert_array_equal(np.flatnonzero(whole.filled[0]), sorted((knee, neck)))
    np.testing.assert_array_equal(whole.score[0] == 0, whole.filled[0])
    known = ~whole.filled
    np.testing.assert_array_equal(whole.xy[known], xy[known])


# What goes wrong


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--format", "coco"], ["nothing to write; give --out, --export or both"]),
        (["--format", "coco", "--out", "o.mp4"], ["give --video too"]),
        (["--format", "coco", "--export", "p.h5"], ["give --video, or both --size and --fps"]),
        (["--format", "coco", "--export", "p.h5", "--fps", "25"], ["give --video, or both --size and --fps"]),
        (["--format", "h5", "--export", "p.h5", "--fps", "25"], ["leave out --size and --fps"]),
        (["--format", "coco", "--export", "p.h5", "--fps", "25", "--size", "640"], ["'640'", "1280x720"]),
        (["--format", "coco", "--export", "p.h5", "--fps", "25", "--size", "0x360"], ["'0x360'"]),
        (["--format", "mpii", "--export", "p.h5"], ["'mpii'", "coco, halpe, openpose, blazepose, h5"]),
        (["--format", "coco", "--export", "p.h5", "--smooth", "much"], ["off, light, strong"]),
        (["--format", "coco", "--export", "p.h5", "--people", "0"], ["--people"]),
        (["--export", "p.h5"], ["--format"]),
    ],
)
def test_a_wrong_use_of_lift(posecli, tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    result = posecli("lift", "points.json", *options)
    assert result.code == 2
    told = " ".join(result.err.replace("│", " ").split())
    assert all(word in told for word in words), told
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--fps", "0"], "--fps 0: give the clip's frames per second"),
        (["--fps", "nan"], "--fps nan: give the clip's frames per second"),
        (["--fps", "25", "--fov", "5"], "--fov 5: give the horizontal field of view"),
        (["--fps", "25", "--height", "300"], "--height 300: people are 50 to 260 cm tall"),
        (["--fps", "25", "--export", "p.txt"], "p.txt: unknown kind of pose file"),
        (["--fps", "25", "--export", "none/p.h5"], "none/p.h5: there is no folder"),
    ],
)
def test_lift_says_what_cannot_be_before_the_lifter_is_loaded(posecli, tmp_path, monkeypatch, options, words):
    def slow(*_weights: object) -> Lifter:
        raise AssertionError("the lifter was loaded first")

    monkeypatch.setattr(Lifter, "load", slow)
    monkeypatch.chdir(tmp_path)
    result = posecli("lift", "in.json", "--format", "coco", "--size", "640x360", "--export", "p.csv", *options)
    assert error_line(result).startswith(f"posecli: {words}")
    assert left(tmp_path) == []


def test_lift_wants_the_clip_of_the_poses(posecli, folder, stored, tmp_path):
    short = make_clip(tmp_path / "short.mp4", images=[np.full((*SIZE[::-1], 3), 100, np.uint8)] * 12)
    file = write_points(tmp_path, "coco", stored.people[0])
    out = tmp_path / "out.mp4"
    line = error_line(posecli("lift", file, "--format", "coco", "--video", short, "--out", out))
    found = f"has poses in frame 19, counted from 0, but {short} has 12 frames"
    assert line == f"posecli: {file}: {found}; give the clip that they were found in"
    poses = folder / "poses.h5"
    line = error_line(posecli("lift", poses, "--format", "h5", "--video", short, "--out", out))
    assert line.startswith(f"posecli: {short}: has 12 frames, but {poses} has poses for 20; ")
    small = make_clip(tmp_path / "small.mp4", images=[np.zeros((48, 64, 3), np.uint8)] * FRAMES)
    line = error_line(posecli("lift", poses, "--format", "h5", "--video", small, "--export", tmp_path / "p.csv"))
    assert line.startswith(f"posecli: {small}: is 64 x 48 pixels, but {poses} has poses for 648 x 364; ")
    assert left(tmp_path) == ["coco.json", "short.mp4", "small.mp4"]


def test_lift_says_what_is_wrong_with_the_file(posecli, stored, tmp_path):
    out = tmp_path / "p.csv"
    late = replace(stored.people[0], frame=stored.people[0].frame + MAX_FRAMES)
    write_points(tmp_path, "coco", late)
    faces = [{"image_id": 0, "keypoints": [200, 100, 0.9] * 5 + [0, 0, 0] * 12}]
    (tmp_path / "faces.json").write_text(json.dumps(faces))
    nobody = ClipPoses("a.mp4", SIZE, 25.0, 3, even(3), 700.0, "guess", np.array([0.0, -1.0, 0.0]))
    posestore.write(tmp_path / "nobody.h5", nobody)
    for name, layout, options, words in (
        ("none.json", "coco", TOLD, "no such file"),
        ("coco.json", "coco", TOLD, f"has poses in frame {MAX_FRAMES + FRAMES - 1}, too late for a clip"),
        ("coco.json", "halpe", TOLD, "--format halpe has 26 or 136 keypoints, found 17; use --format coco"),
        ("coco.json", "h5", (), "not a readable file of poses"),
        ("faces.json", "coco", TOLD, "has no joint of a body"),
        ("nobody.h5", "h5", (), "has poses of nobody"),
    ):
        line = error_line(posecli("lift", tmp_path / name, "--format", layout, "--export", out, *options))
        assert line.startswith(f"posecli: {tmp_path / name}: {words}"), line
    assert not out.exists()


def untrained(path: Path) -> Path:
    """Weights of a small lifter that takes no scores."""
    network, config = build_lifter("baseline", width=8, in_channels=2)
    parts = [torch.zeros(16, 2), torch.ones(16, 2), torch.zeros(16, 3), torch.full((16, 3), 300.0)]
    meta = {"input_skeleton": "h36m16", "output_skeleton": "h36m17", "statistics": Statistics(*parts).to_meta()}
    save_checkpoint(path, Checkpoint("lifter", "baseline", config, meta, network.state_dict()))
    return path


def test_a_lifter_without_scores_needs_every_joint(posecli, lift, stored, tmp_path):
    weights = untrained(tmp_path / "old.safetensors")
    coco, halpe = (write_points(tmp_path, layout, stored.people[0]) for layout in ("coco", "halpe"))
    line = error_line(
        posecli("lift", coco, "--format", "coco", *TOLD, "--export", tmp_path / "p.csv", "--lifter", weights)
    )
    lacks = "lacks head_top, but the lifter old.safetensors needs all joints"
    assert line == f"posecli: {coco}: {lacks}; give a --lifter trained with scores"
    assert not (tmp_path / "p.csv").exists()
    assert len(lift(halpe, "halpe", *TOLD, "--lifter", weights).people[0]) == FRAMES

"""The options of `posecli video`: the poses as files, how smooth they are, the camera's view and the person's height.

The network runs once, over a short piece of the demo; the program then takes what it saw from there.
"""

import csv
import json
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from pipeline import posestore, run
from pipeline.clean import jitter
from pipeline.device import share_processor
from pipeline.export import WRITERS
from pipeline.people import ClipPoses
from pipeline.run import Models, picture_of
from pipeline.sighting import Sighting
from pipeline.skeleton import H36M17
from pipeline.trajectory import ANKLE_HEIGHT
from pipeline.video import read_frames
from pipeline.weights import assets_folder, file_sha256, find_weights
from tests.pipeline.clips import contents, make_clip
from tests.pipeline.posed import two_people, walk
from tests.pipeline.tiny import tiny_models

FRAMES = 20
SIZE = (640, 360)


def short_clip(path: Path, *, frames: int = FRAMES, size: tuple[int, int] = SIZE) -> Path:
    """The first frames of the demo, smaller. Returns `path`."""
    with av.open(str(assets_folder() / "demo.mp4")) as file:
        whole = [frame for frame, _ in zip(file.decode(video=0), range(frames), strict=False)]
        images = [frame.reformat(*size).to_ndarray(format="bgr24") for frame in whole]
    return make_clip(path, images=images, time_base=Fraction(1, 30))


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return short_clip(tmp_path_factory.mktemp("clip") / "in.mp4")


@pytest.fixture(scope="module")
def sightings(clip) -> list[dict[int, Sighting]]:
    """What the shipped detector sees in the clip, frame by frame."""
    share_processor()
    models = Models.load(hourglass="hourglass-s", lifter="baseline", device=torch.device("cpu"))
    tracker = models.tracker()
    return [tracker.update(frame.image, frame.time_s) for frame in read_frames(clip)]


class Replay:
    """A tracker that has seen the clip before."""

    def __init__(self, sightings: list[dict[int, Sighting]]) -> None:
        self.left = iter(sightings)

    def update(self, _image: np.ndarray, _time_s: float) -> dict[int, Sighting]:
        return next(self.left)


@pytest.fixture
def poses_of(posecli, clip, sightings, tmp_path, monkeypatch) -> Callable[..., ClipPoses]:
    """The poses of the clip after `posecli video` with some options."""
    monkeypatch.setattr(Models, "tracker", lambda _self, **_: Replay(sightings))

    def run(*options: object) -> ClipPoses:
        result = posecli("video", clip, "--out", tmp_path / "out.mp4", "--export", tmp_path / "poses.h5", *options)
        assert result.code == 0, result.err
        return posestore.read(tmp_path / "poses.h5")

    return run


def pelvis_depth(poses: ClipPoses) -> float:
    """How far in front of the camera the person is on the whole, along the ground, mm."""
    return float(np.median(poses.people[0].world[:, H36M17.root, 1]))


# Files


def test_all_files_of_one_run(poses_of, clip, tmp_path):
    files = [tmp_path / f"p{ending}" for ending in WRITERS]
    assert len(files) == 8
    poses = poses_of(*(word for file in files for word in ("--export", file)))
    assert all(file.stat().st_size > 1000 for file in files)
    assert poses.source == clip.name
    assert (poses.size, poses.fps, poses.frames, poses.focal_origin) == (SIZE, 30.0, FRAMES, "guess")
    (person,) = poses.people
    table = json.loads((tmp_path / "p.json").read_text())
    np.testing.assert_allclose(table["people"][0]["world_mm"], person.world, atol=1e-3)
    with (tmp_path / "p.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(person) == FRAMES
    np.testing.assert_array_equal(np.load(tmp_path / "p.npz")["person1_xyz"], person.xyz)


def test_save_is_another_name_of_export(posecli, clip, sightings, tmp_path, monkeypatch):
    monkeypatch.setattr(Models, "tracker", lambda _self, **_: Replay(sightings))
    saved = tmp_path / "poses.h5"
    result = posecli("video", clip, "--out", tmp_path / "out.mp4", "--save", saved, "--export", tmp_path / "p.csv")
    assert result.code == 0, result.err
    assert posestore.read(saved).frames == FRAMES
    assert (tmp_path / "p.csv").exists()


def test_the_last_line_names_every_file(posecli, clip, sightings, tmp_path, monkeypatch):
    monkeypatch.setattr(Models, "tracker", lambda _self, **_: Replay(sightings))
    out, bvh, trc = tmp_path / "out.mp4", tmp_path / "p.bvh", tmp_path / "p.trc"
    result = posecli("video", clip, "--out", out, "--export", bvh, "--export", trc)
    assert result.code == 0, result.err
    assert result.out.startswith(f"{FRAMES} frames, {FRAMES} with a person, jitter ")
    assert result.out.endswith(f" -> {out}, {bvh}, {trc}\n")


def test_the_files_tell_which_weights_made_them(poses_of):
    poses = poses_of()
    for stage, kind, name in (("detector", "hourglass", "hourglass-m"), ("lifter", "lifter", "baseline")):
        weights = find_weights(kind, name)
        assert poses.provenance[stage] == {"file": weights.name, "sha256": file_sha256(weights)}
    assert poses.provenance["posecli"][0].isdigit()


def test_the_world_has_the_person_on_the_floor_before_the_camera(poses_of):
    poses = poses_of()
    world = poses.people[0].world
    assert np.abs(world[..., 2].min(1)).max() < 100
    assert 1000 < pelvis_depth(poses) < 20_000
    assert poses.up[1] < -0.8  # against y, which is down


# Options


def test_more_smoothing_is_less_jitter(poses_of):
    shakes_2d, shakes_3d = [], []
    for smooth in ("off", "light", "strong"):
        (person,) = poses_of("--smooth", smooth).people
        shakes_2d.append(jitter(person.xy, person.time_s))
        shakes_3d.append(jitter(person.xyz, person.time_s))
    for shakes in (shakes_2d, shakes_3d):
        assert shakes[0] > 1.5 * shakes[1] > 1.5 * shakes[2]


def test_without_smoothing_the_files_hold_what_was_seen(poses_of, sightings):
    (person,) = poses_of("--smooth", "off").people
    np.testing.assert_array_equal(person.xy, [seen[1].xy for seen in sightings])


def stature(xyz: np.ndarray) -> float:
    """Height of a body (T, 17, 3) from the bones from the right ankle to the top of the head and the left one's."""
    chains = [("ankle", "knee", "hip"), ("pelvis", "spine", "thorax", "head_top")]
    sides = [[f"{side}_{joint}" for joint in chains[0]] for side in "lr"]
    lengths = []
    for names in (*sides, chains[1]):
        points = xyz[:, H36M17.indices(tuple(names))]
        lengths.append(np.median(np.linalg.norm(np.diff(points, axis=1), axis=-1), axis=0).sum())
    return float((lengths[0] + lengths[1]) / 2 + lengths[2]) / (1 - ANKLE_HEIGHT)


def test_a_person_of_half_the_height_is_half_as_large_and_half_as_far(poses_of):
    tall, small = poses_of("--height", 175), poses_of("--height", 87.5)
    assert stature(tall.people[0].xyz) == pytest.approx(1750, abs=1)
    np.testing.assert_allclose(tall.people[0].xyz, 2 * small.people[0].xyz, atol=0.01)
    # The picture is the same, so distances halve too; the limits of what is floor are in mm, hence not exactly.
    assert pelvis_depth(tall) == pytest.approx(2 * pelvis_depth(small), rel=0.05)
    np.testing.assert_array_equal(tall.people[0].xy, small.people[0].xy)


def test_a_narrower_view_is_further_away(poses_of):
    near, far = poses_of("--fov", 80), poses_of("--fov", 40)
    for poses, degrees in ((near, 80), (far, 40)):
        assert poses.focal_origin == "--fov"
        assert poses.focal_px == pytest.approx(SIZE[0] / 2 / np.tan(np.radians(degrees / 2)))
    # A body of one size spans as many pixels from as many focal lengths away, if it were seen from the same side.
    assert pelvis_depth(far) / pelvis_depth(near) == pytest.approx(far.focal_px / near.focal_px, rel=0.25)


# The picture


def test_people_are_drawn_where_they_are_in_the_world_in_their_own_frames():
    poses = two_people()
    _, figures = picture_of(poses)
    counts = [len(figures.get(frame, [])) for frame in range(poses.frames)]
    present = [np.isin(range(poses.frames), person.frame) for person in poses.people]
    assert counts == np.sum(present, axis=0).tolist()
    for person in poses.people:
        for row, frame in enumerate(person.frame):
            assert any(figure.xyz is not None and (figure.xyz == person.world[row]).all() for figure in figures[frame])


def test_a_way_that_is_long_is_followed_and_a_photo_is_not():
    assert not picture_of(walk(1))[0]._stage.follows
    long = walk(200)
    (person,) = long.people
    far = replace(person, world=person.world + np.linspace((0, 0, 0), (20_000, 0, 0), 200)[:, None])
    assert picture_of(replace(long, people=(far,)))[0]._stage.follows


# What goes wrong


def _line(result) -> str:
    """The one line of an error."""
    assert result.code == 1
    lines = [line for line in result.err.replace("\r", "\n").splitlines() if line.startswith("posecli:")]
    assert "Traceback" not in result.err
    (line,) = lines
    return line


@pytest.fixture
def no_models(monkeypatch) -> None:
    def load(**_weights: object) -> Models:
        raise AssertionError("the models were loaded first")

    monkeypatch.setattr(Models, "load", load)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--export", "{}/poses.txt"], ["poses.txt: unknown kind of pose file", ".h5, .json, .csv, .npz, .bvh, .trc"]),
        (["--export", "{}/missing/p.h5"], ["missing/p.h5: there is no folder", "create it first"]),
        (["--export", "{}/p.h5", "--export", "{}/p"], ["/p: unknown kind of pose file"]),
        (["--fov", "5"], ["--fov 5: give the horizontal field of view, 10 to 170 degrees"]),
        (["--fov", "nan"], ["--fov nan: give the horizontal field of view"]),
        (["--height", "40"], ["--height 40: people are 50 to 260 cm tall"]),
        (["--height", "1.75"], ["--height 1.75: people are 50 to 260 cm tall"]),
    ],
)
@pytest.mark.usefixtures("no_models")
def test_what_cannot_be_is_said_before_anything_slow(posecli, clip, tmp_path, options, words):
    options = [option.format(tmp_path) for option in options]
    line = _line(posecli("video", clip, "--out", tmp_path / "out.mp4", *options))
    assert all(word in line for word in words)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_smoothing_is_a_usage_error(posecli, clip, tmp_path):
    result = posecli("video", clip, "--out", tmp_path / "out.mp4", "--smooth", "much")
    assert result.code == 2
    assert "off, light, strong" in result.err


def test_the_video_is_kept_when_there_is_nobody_to_hand_over(posecli, tmp_path):
    dark = make_clip(tmp_path / "in.mp4", images=[np.zeros((48, 64, 3), np.uint8)] * 3)
    out, bvh = tmp_path / "out.mp4", tmp_path / "walk.bvh"
    line = _line(posecli("video", dark, "--out", out, "--export", bvh))
    assert line == f"posecli: {bvh}: nobody was found in in.mp4, and a .bvh file is of one person; " + (
        "choose .json, .csv, .npz or .h5"
    )
    assert len(contents(out, times_only=True).times) == 3
    assert not bvh.exists()


def test_a_clip_without_a_person_is_handed_over_too(posecli, tmp_path):
    dark = make_clip(tmp_path / "in.mp4", images=[np.zeros((48, 64, 3), np.uint8)] * 3)
    result = posecli("video", dark, "--out", tmp_path / "out.mp4", "--export", tmp_path / "p.h5")
    assert result.code == 0, result.err
    poses = posestore.read(tmp_path / "p.h5")
    assert (poses.frames, poses.people) == (3, ())


# Several people


class Pair:
    """A tracker that sees someone, and from the sixth frame on a second person beside him."""

    def __init__(self, sightings: list[dict[int, Sighting]]) -> None:
        self.left = iter(enumerate(sightings))

    def update(self, _image: np.ndarray, _time_s: float) -> dict[int, Sighting]:
        frame, seen = next(self.left)
        (one,) = seen.values()
        return {3: one, 7: one.moved(np.array([120.0, 0]))} if frame >= 5 else {3: one}


def test_people_are_handed_over_under_numbers_of_their_own(posecli, clip, sightings, tmp_path, monkeypatch):
    asked = []

    def tracker(_self: Models, *, people: int, thorough: bool, aside: Executor) -> Pair:
        asked.append((people, thorough))
        return Pair(sightings)

    monkeypatch.setattr(Models, "tracker", tracker)
    files = [tmp_path / name for name in ("p.h5", "p.json", "p.bvh", "p.trc")]
    exports = [word for file in files for word in ("--export", file)]
    result = posecli("video", clip, "--out", tmp_path / "out.mp4", "--people", 2, *exports)
    assert result.code == 0, result.err
    assert asked == [(2, False)]
    poses = posestore.read(files[0])
    assert [person.id for person in poses.people] == [1, 2]
    assert [len(person) for person in poses.people] == [FRAMES, FRAMES - 5]
    assert poses.people[1].frame[0] == 5
    assert [person["id"] for person in json.loads(files[1].read_text())["people"]] == [1, 2]
    assert len(list(tmp_path.glob("p*.bvh"))) == len(list(tmp_path.glob("p*.trc"))) == 2


def test_small_detectors_look_by_turns_unless_they_are_to_be_thorough(tmp_path, monkeypatch):
    models = tiny_models(tmp_path)
    assert models.tracker()._options.by_turns
    assert not models.tracker(thorough=True)._options.by_turns
    monkeypatch.setattr(run, "QUICK_PX", models.detector.input_size - 1)
    assert not models.tracker()._options.by_turns


def test_numbers_are_drawn_only_where_several_people_are():
    _, alone = picture_of(replace(two_people(), people=two_people().people[:1]))
    assert {figure.name for figures in alone.values() for figure in figures} == {""}
    _, figures = picture_of(two_people())
    assert {figure.name for row in figures.values() for figure in row} == {"1", "3"}

"""The tracker finds a person anywhere in the frame, follows him, and finds him again.

The detector is a stand-in that knows where people are and sees those that fill a fair part of the region it is given.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.crop import Region, region_of
from pipeline.skeleton import LSP14
from pipeline.track import Sighting, Tracker, TrackOptions, search_windows, track_of

# A standing person in units of his height, the head's top at (0, 0): x right, y down, facing the camera.
STANDING = np.array(
    [
        (-0.1, 1.0), (-0.1, 0.75), (-0.1, 0.5), (0.1, 0.5), (0.1, 0.75), (0.1, 1.0),
        (-0.25, 0.5), (-0.22, 0.34), (-0.15, 0.18), (0.15, 0.18), (0.22, 0.34), (0.25, 0.5),
        (0.0, 0.16), (0.0, 0.0),
    ]
)  # fmt: skip
# Person's extent over the region's side between which the stand-in sees him: what training shows the real one.
SMALLEST, LARGEST = 0.22, 2.2


def person(x: float, y: float, height: float, *, lying: bool = False) -> np.ndarray:
    """Joints (14, 2) of a person whose middle is at (x, y)."""
    unit = STANDING - (0, 0.5)
    return (unit[:, ::-1] if lying else unit) * height + (x, y)


@dataclass
class Scene:
    """What is in the frame, and what a detector looking there would say."""

    width: int = 640
    height: int = 360
    people: list[np.ndarray] = field(default_factory=list)
    clear: float = 0.8  # score of a joint that is seen
    looks: list[Sequence[Region]] = field(default_factory=list)  # regions of every call

    @property
    def image(self) -> np.ndarray:
        return np.zeros((self.height, self.width, 3), np.uint8)

    def find_joints(self, image: np.ndarray, regions: Sequence[Region]) -> tuple[np.ndarray, np.ndarray]:
        assert image.shape == (self.height, self.width, 3)
        self.looks.append(regions)
        seen = [self._look(region) for region in regions]
        return np.stack([xy for xy, _ in seen]), np.stack([score for _, score in seen])

    def _look(self, region: Region) -> tuple[np.ndarray, np.ndarray]:
        nothing = np.full((14, 2), (region.x, region.y)), np.full(14, 0.04)
        views = [nothing, *(self._see(joints, region) for joints in self.people)]
        return max(views, key=lambda view: view[1].sum())

    def _see(self, joints: np.ndarray, region: Region) -> tuple[np.ndarray, np.ndarray]:
        within = (np.abs(joints - (region.x, region.y)) <= region.side / 2).all(1)
        within &= ((joints > -0.5) & (joints < np.array([self.width, self.height]) - 0.5)).all(1)
        fits = SMALLEST <= np.ptp(joints, axis=0).max() / region.side <= LARGEST
        seen = within & fits
        return np.where(seen[:, None], joints, (region.x, region.y)), np.where(seen, self.clear, 0.05)

    def tracker(self, **options: float) -> Tracker:
        return Tracker(self.find_joints, LSP14, TrackOptions(**options))


FRAMES = [(640, 360), (360, 640), (1920, 1080), (480, 480), (1280, 540)]


@settings(max_examples=150, deadline=None)
@given(
    frame=st.sampled_from(FRAMES),
    x=st.floats(0, 1),
    y=st.floats(0, 1),
    part=st.floats(1 / 6, 0.95),
    lying=st.booleans(),
)
def test_a_person_is_found_anywhere_and_of_any_size(frame, x, y, part, lying):
    scene = Scene(*frame)
    height = part * (min(frame) if lying else scene.height)
    extent = np.ptp(person(0, 0, height, lying=lying), axis=0)
    if (extent > frame).any():
        return
    # from one border to the other
    place = extent / 2 + (x, y) * (np.array(frame) - 1 - extent)
    scene.people = [person(*place, height, lying=lying)]
    sighting = scene.tracker().update(scene.image)
    assert sighting is not None
    np.testing.assert_allclose(sighting.xy, scene.people[0])
    assert (sighting.score == 0.8).all()


@pytest.mark.parametrize(("x", "y"), [(0, 180), (639, 180), (320, 0), (320, 359), (0, 0), (639, 359)])
def test_half_a_person_at_the_border_is_found(x, y):
    scene = Scene(people=[person(x, y, 200)])
    inside = ((scene.people[0] > -0.5) & (scene.people[0] < (639.5, 359.5))).all(1)
    sighting = scene.tracker(found=0.15).update(scene.image)
    assert sighting is not None
    assert ((sighting.score > 0.5) == inside).all()
    np.testing.assert_allclose(sighting.xy[inside], scene.people[0][inside])


def test_nobody():
    scene = Scene()
    tracker = scene.tracker()
    assert [tracker.update(scene.image) for _ in range(5)] == [None] * 5


def test_weak_scores_are_nobody():
    scene = Scene(people=[person(320, 180, 200)])
    assert scene.tracker(found=0.81).update(scene.image) is None
    assert scene.tracker(found=0.79).update(scene.image) is not None


def test_who_is_followed_may_be_seen_less_clearly_than_who_is_found():
    scene = Scene(people=[person(320, 180, 200)], clear=0.5)
    tracker = scene.tracker(found=0.4, kept=0.3)
    assert tracker.update(scene.image) is not None
    scene.clear = 0.31
    scene.looks.clear()
    assert tracker.update(scene.image) is not None
    assert [len(regions) for regions in scene.looks] == [1]
    scene.clear = 0.29
    assert tracker.update(scene.image) is None
    scene.clear = 0.39
    assert [tracker.update(scene.image) for _ in range(6)] == [None] * 6
    scene.clear = 0.41
    assert [tracker.update(scene.image) is not None for _ in range(3)].count(True) >= 1


def test_a_moving_person_is_followed_without_searching_again():
    scene = Scene(people=[person(80, 180, 100)])
    tracker = scene.tracker()
    tracker.update(scene.image)
    scene.looks.clear()
    for t in range(1, 60):
        # four fifths of the frame's width in two seconds, while he comes nearer and goes away again
        height = 100 + 120 * np.sin(np.pi * t / 60)
        scene.people = [person(80 + 8 * t, 180, height)]
        sighting = tracker.update(scene.image)
        assert sighting is not None
        np.testing.assert_allclose(sighting.xy, scene.people[0])
    assert [len(regions) for regions in scene.looks] == [1] * 59


def test_a_person_who_jumps_to_elsewhere_is_found_in_the_same_frame():
    scene = Scene(people=[person(100, 180, 300)])
    tracker = scene.tracker()
    tracker.update(scene.image)
    scene.people = [person(520, 200, 60)]
    sighting = tracker.update(scene.image)
    assert sighting is not None
    np.testing.assert_allclose(sighting.xy, scene.people[0])
    # and followed from there, in a region of his own size: the old one's counts only while he is followed
    scene.looks.clear()
    assert tracker.update(scene.image) is not None
    assert scene.looks == [[region_of(scene.people[0])]]


def test_a_region_shrinks_slowly_while_a_person_is_followed():
    scene = Scene(people=[person(320, 180, 200)])
    tracker = scene.tracker(shrink=0.9)
    tracker.update(scene.image)
    scene.people = [person(320, 180, 150)]  # or half of him hidden for a moment
    tracker.update(scene.image)
    tracker.update(scene.image)
    tracker.update(scene.image)
    side = region_of(person(320, 180, 200)).side
    small = region_of(scene.people[0]).side
    assert [regions[0].side for regions in scene.looks[-3:]] == pytest.approx([side, 0.9 * side, 0.81 * side])
    tracker.update(scene.image)
    assert scene.looks[-1][0].side == pytest.approx(small)


def test_nobody_is_searched_for_in_every_third_frame_only():
    scene = Scene()
    tracker = scene.tracker(search_every=3)
    searched = []
    for _ in range(7):
        before = len(scene.looks)
        tracker.update(scene.image)
        searched.append(len(scene.looks) > before)
    assert searched == [True, False, False, True, False, False, True]


def test_a_person_who_was_away_is_found_again_within_the_search_interval():
    scene = Scene(people=[person(200, 180, 150)])
    tracker = scene.tracker(search_every=3)
    assert tracker.update(scene.image) is not None
    scene.people = []
    assert [tracker.update(scene.image) for _ in range(4)] == [None] * 4
    scene.people = [person(450, 200, 120)]
    sightings = [tracker.update(scene.image) for _ in range(4)]
    first = next(i for i, sighting in enumerate(sightings) if sighting is not None)
    assert first <= 2
    assert all(sighting is not None for sighting in sightings[first:])


def test_a_lost_person_is_searched_for_at_once():
    scene = Scene(people=[person(200, 180, 150)])
    tracker = scene.tracker()
    tracker.update(scene.image)
    scene.people = []
    scene.looks.clear()
    tracker.update(scene.image)
    assert len(scene.looks[0]) == 1
    assert len(scene.looks[1]) > 10


@pytest.mark.parametrize("order", [1, -1])
def test_the_most_prominent_of_two_is_chosen_and_kept(order):
    large, small = person(170, 180, 250), person(500, 180, 90)
    scene = Scene(people=[large, small][::order])
    tracker = scene.tracker()
    sighting = tracker.update(scene.image)
    assert sighting is not None
    np.testing.assert_allclose(sighting.xy, large)
    # The other one comes nearer; who is followed stays the same.
    scene.people = [person(150, 180, 240), person(480, 180, 330)][::order]
    sighting = tracker.update(scene.image)
    assert sighting is not None
    np.testing.assert_allclose(sighting.xy, person(150, 180, 240))


def test_a_person_far_away_who_is_seen_more_clearly_does_not_crowd_out_a_near_one():
    scene = Scene(people=[person(170, 180, 250), person(500, 180, 80)])
    far = scene.people[1]

    def find_joints(image: np.ndarray, regions: Sequence[Region]) -> tuple[np.ndarray, np.ndarray]:
        xy, score = scene.find_joints(image, regions)
        return xy, np.where((xy == far).all((1, 2))[:, None], 0.9, score)

    sighting = Tracker(find_joints, LSP14).update(scene.image)
    assert sighting is not None
    np.testing.assert_allclose(sighting.xy, scene.people[0])


def test_few_sure_joints_are_no_person():
    def find_joints(image: np.ndarray, regions: Sequence[Region]) -> tuple[np.ndarray, np.ndarray]:
        xy = np.tile(person(320, 180, 200), (len(regions), 1, 1))
        score = np.zeros((len(regions), 14))
        score[:, :2] = 1
        return xy, score

    tracker = Tracker(find_joints, LSP14, TrackOptions(found=0.1))
    assert tracker.update(np.zeros((360, 640, 3), np.uint8)) is None


@settings(max_examples=60, deadline=None)
@given(width=st.integers(1, 300), height=st.integers(1, 300), scale=st.floats(0.2, 1.0))
def test_the_windows_of_each_scale_cover_every_pixel(width, height, scale):
    whole, *windows = search_windows(width, height, [scale])
    assert (whole.x, whole.y, whole.side) == ((width - 1) / 2, (height - 1) / 2, max(width, height))
    side = scale * min(width, height)
    covered = np.zeros((height, width), bool)
    for window in windows:
        assert window.side == side
        # within the frame, unless the frame has less than one pixel to spare
        low, high = np.array([window.x, window.y]) - side / 2, np.array([window.x, window.y]) + side / 2
        assert (low > -0.5 - 1e-6).all()
        assert (high < np.array([width, height]) - 0.5 + 1e-6).all()
        x = np.abs(np.arange(width) - window.x) <= max(side, 1) / 2 + 1e-6
        y = np.abs(np.arange(height) - window.y) <= max(side, 1) / 2 + 1e-6
        covered |= y[:, None] & x
    assert covered.all()


def test_neighbouring_windows_share_half_of_their_side():
    windows = search_windows(1920, 1080, [0.45])[1:]
    for values in ({w.x for w in windows}, {w.y for w in windows}):
        assert np.diff(sorted(values)).max() <= windows[0].side / 2 + 1e-9


def test_a_frame_of_one_pixel():
    assert {(w.x, w.y) for w in search_windows(1, 1, [1.0])} == {(0, 0)}
    scene = Scene(1, 1)
    assert scene.tracker().update(scene.image) is None


def test_the_track_of_sightings():
    rows = [
        (3, 0.12, Sighting(person(1, 2, 3), np.full(14, 0.5))),
        (5, 0.2, Sighting(person(4, 5, 6), np.full(14, 0.6))),
    ]
    track = track_of(rows, LSP14, (640, 360))
    assert track.frame.tolist() == [3, 5]
    assert track.time_s.tolist() == [0.12, 0.2]
    assert track.size == (640, 360)
    np.testing.assert_array_equal(track.xy[1], person(4, 5, 6))
    assert (track.score == [[0.5], [0.6]]).all()


def test_the_track_of_nobody():
    track = track_of([], LSP14, (640, 360))
    assert len(track) == 0
    assert track.xy.shape == (0, 14, 2)
    assert track.score.shape == (0, 14)

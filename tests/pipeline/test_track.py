"""The tracker finds people anywhere in the frame, follows them under numbers, and finds them again.

Finder and detector are stand-ins that know where people are; the detector sees those that fill a fair part of the
region it is given, in front the one drawn last.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.crop import Region, region_of
from pipeline.sighting import Found, Sighting
from pipeline.skeleton import LSP14
from pipeline.track import SURVEY_FRAMES, SeenPeople, Tracker, TrackOptions

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


RATE = 30.0  # frames per second


@dataclass
class Scene:
    """What is in the frame, and what finder and detector would say of it."""

    width: int = 640
    height: int = 360
    people: list[np.ndarray] = field(default_factory=list)  # those further on hide those before them
    wear: list[tuple[int, int, int]] = field(default_factory=list)  # their colours, BGR; none: all grey
    backdrop: int = 0
    clear: float = 0.8  # score of a joint that is seen
    looks: list[Sequence[Region]] = field(default_factory=list)  # regions of every call
    turns: list[int | None] = field(default_factory=list)  # and whose turn it was
    searches: int = 0
    blind: bool = False  # the finder finds nobody
    frame: int = -1

    @property
    def image(self) -> np.ndarray:
        picture = np.full((self.height, self.width, 3), self.backdrop, np.uint8)
        for joints, colour in zip(self.people, self.wear, strict=False):
            low, high = joints.min(0).clip(0).astype(int), joints.max(0).clip(0).astype(int)
            picture[low[1] : high[1] + 1, low[0] : high[0] + 1] = colour
        return picture

    def find_people(self, image: np.ndarray) -> list[Found]:
        self.searches += 1
        size = (self.width, self.height)
        inside = [joints[((joints > -0.5) & (joints < np.array(size) - 0.5)).all(1)] for joints in self.people]
        return [] if self.blind else [Found(region_of(joints), 0.9) for joints in inside if len(joints) >= 3]

    def find_joints(
        self, image: np.ndarray, regions: Sequence[Region], turn: int | None
    ) -> tuple[np.ndarray, np.ndarray]:
        assert image.shape == (self.height, self.width, 3)
        self.looks.append(regions)
        self.turns.append(turn)
        seen = [self._look(region) for region in regions]
        return np.stack([xy for xy, _ in seen]), np.stack([score for _, score in seen])

    def _look(self, region: Region) -> tuple[np.ndarray, np.ndarray]:
        """Whoever is nearest to the middle of the region; of people in about one place the one in front."""
        views = [(np.full((14, 2), (region.x, region.y)), np.full(14, 0.04))]
        places = [joints.mean(0) for joints in self.people]
        for index, joints in enumerate(self.people):
            width = np.ptp(joints[:, 0])
            if not any(abs(places[index][0] - front[0]) < 0.4 * width for front in places[index + 1 :]):
                views.append(self._see(joints, region))

        def seen(view: tuple[np.ndarray, np.ndarray]) -> tuple[bool, float]:
            there = view[1].mean() > 0.1
            return there, -float(np.abs(view[0].mean(0) - (region.x, region.y)).max())

        return max(views, key=seen)

    def _see(self, joints: np.ndarray, region: Region) -> tuple[np.ndarray, np.ndarray]:
        within = (np.abs(joints - (region.x, region.y)) <= region.side / 2).all(1)
        within &= ((joints > -0.5) & (joints < np.array([self.width, self.height]) - 0.5)).all(1)
        fits = SMALLEST <= np.ptp(joints, axis=0).max() / region.side <= LARGEST
        seen = within & fits
        return np.where(seen[:, None], joints, (region.x, region.y)), np.where(seen, self.clear, 0.05)

    def tracker(self, **options: float) -> Tracker:
        return Tracker(self.find_joints, self.find_people, LSP14, TrackOptions(**options))  # type: ignore[arg-type]

    def update(self, tracker: Tracker) -> dict[int, Sighting]:
        """What the tracker makes of the next frame."""
        self.frame += 1
        return tracker.update(self.image, self.frame / RATE)

    def only(self, tracker: Tracker) -> Sighting | None:
        """The one person in the next frame, if there is one."""
        found = list(self.update(tracker).values())
        assert len(found) <= 1
        return found[0] if found else None


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
    sighting = scene.only(scene.tracker())
    assert sighting is not None
    np.testing.assert_allclose(sighting.xy, scene.people[0])
    assert (sighting.score == 0.8).all()


@pytest.mark.parametrize(("x", "y"), [(0, 180), (639, 180), (320, 0), (320, 359), (0, 0), (639, 359)])
def test_half_a_person_at_the_border_is_found(x, y):
    scene = Scene(people=[person(x, y, 200)])
    inside = ((scene.people[0] > -0.5) & (scene.people[0] < (639.5, 359.5))).all(1)
    sighting = scene.only(scene.tracker(found=0.15))
    assert sighting is not None
    assert ((sighting.score > 0.5) == inside).all()
    np.testing.assert_allclose(sighting.xy[inside], scene.people[0][inside])


@pytest.mark.parametrize(("by_turns", "turns"), [(True, [0, 1, 0, 1]), (False, [None] * 4)])
def test_who_is_found_is_looked_at_thoroughly_and_then_by_turns(by_turns, turns):
    scene = Scene(people=[person(300, 180, 200)])
    tracker = scene.tracker(by_turns=by_turns)
    assert scene.only(tracker)
    assert set(scene.turns) == {None}
    scene.turns.clear()
    for _ in turns:
        assert scene.only(tracker)
    assert scene.turns == turns


def test_nobody():
    scene = Scene()
    tracker = scene.tracker()
    assert [scene.update(tracker) for _ in range(5)] == [{}] * 5
    assert scene.looks == []


def test_weak_scores_are_nobody():
    scene = Scene(people=[person(320, 180, 200)])
    assert scene.only(scene.tracker(found=0.81)) is None
    assert scene.only(scene.tracker(found=0.79)) is not None


def test_what_the_finder_is_not_sure_of_is_not_looked_at():
    scene = Scene(people=[person(320, 180, 200)])
    assert scene.only(scene.tracker(hopeful=0.91)) is None
    assert scene.looks == []
    tracker = scene.tracker(people=2, likely=0.91)
    assert len(scene.update(tracker)) == 1
    scene.people.append(person(100, 180, 200))
    assert [len(scene.update(tracker)) for _ in range(20)] == [1] * 20  # once someone is there, it must be surer


def test_who_is_followed_may_be_seen_less_clearly_than_who_is_found():
    scene = Scene(people=[person(320, 180, 200)], clear=0.5)
    tracker = scene.tracker(found=0.4, kept=0.3)
    assert scene.only(tracker) is not None
    scene.clear = 0.31
    scene.looks.clear()
    assert scene.only(tracker) is not None
    assert [len(regions) for regions in scene.looks] == [1]
    scene.clear = 0.29
    assert scene.only(tracker) is None
    scene.clear = 0.39
    assert [scene.only(tracker) for _ in range(6)] == [None] * 6
    scene.clear = 0.41
    assert [scene.only(tracker) is not None for _ in range(3)].count(True) >= 1


def test_a_moving_person_is_followed_with_one_look_a_frame():
    scene = Scene(people=[person(80, 180, 100)])
    tracker = scene.tracker()
    scene.update(tracker)
    scene.looks.clear()
    for t in range(1, 60):
        # four fifths of the frame's width in two seconds, while he comes nearer and goes away again
        height = 100 + 120 * np.sin(np.pi * t / 60)
        scene.people = [person(80 + 8 * t, 180, height)]
        sighting = scene.only(tracker)
        assert sighting is not None
        np.testing.assert_allclose(sighting.xy, scene.people[0])
    assert [len(regions) for regions in scene.looks] == [1] * 59
    assert scene.searches == 1 + 3  # at first, and every half second


def test_a_person_who_jumps_to_elsewhere_is_found_in_the_same_frame():
    scene = Scene(people=[person(100, 180, 300)])
    tracker = scene.tracker()
    scene.update(tracker)
    scene.people = [person(520, 200, 60)]
    sighting = scene.only(tracker)
    assert sighting is not None
    np.testing.assert_allclose(sighting.xy, scene.people[0])
    # and followed from there, in a region of his own size: the old one's counts only while he is followed
    scene.looks.clear()
    assert scene.only(tracker) is not None
    assert scene.looks == [[region_of(scene.people[0])]]


def test_a_region_shrinks_slowly_while_a_person_is_followed():
    scene = Scene(people=[person(320, 180, 200)])
    tracker = scene.tracker(shrink=0.9)
    scene.update(tracker)
    scene.people = [person(320, 180, 150)]  # or half of him hidden for a moment
    for _ in range(3):
        scene.update(tracker)
    side = region_of(person(320, 180, 200)).side
    small = region_of(scene.people[0]).side
    assert [regions[0].side for regions in scene.looks[-3:]] == pytest.approx([side, 0.9 * side, 0.81 * side])
    scene.update(tracker)
    assert scene.looks[-1][0].side == pytest.approx(small)


def test_nobody_is_searched_for_in_every_third_frame_only():
    scene = Scene()
    tracker = scene.tracker(search_every=3)
    searched = []
    for _ in range(7):
        before = scene.searches
        scene.update(tracker)
        searched.append(scene.searches > before)
    assert searched == [True, False, False, True, False, False, True]


def test_a_person_who_was_away_is_found_again_within_the_search_interval():
    scene = Scene(people=[person(200, 180, 150)])
    tracker = scene.tracker(search_every=3)
    assert scene.only(tracker) is not None
    scene.people = []
    assert [scene.only(tracker) for _ in range(4)] == [None] * 4
    scene.people = [person(450, 200, 120)]
    sightings = [scene.only(tracker) for _ in range(4)]
    first = next(i for i, sighting in enumerate(sightings) if sighting is not None)
    assert first <= 2
    assert all(sighting is not None for sighting in sightings[first:])


def test_a_lost_person_is_searched_for_at_once():
    scene = Scene(people=[person(200, 180, 150)])
    tracker = scene.tracker()
    scene.update(tracker)
    searches = scene.searches
    scene.people = []
    scene.update(tracker)
    assert scene.searches == searches + 1


def test_someone_lost_is_looked_for_where_he_must_be_even_if_the_finder_is_blind():
    scene = Scene(people=[person(200, 180, 150)])
    tracker = scene.tracker()
    for step in range(10):
        scene.people = [person(200 + 4 * step, 180, 150)]
        (number,) = scene.update(tracker)
    scene.people, scene.blind = [], True
    scene.update(tracker)
    for step in range(11, 16):
        scene.people = [person(200 + 4 * step, 180, 150)]
        found = scene.update(tracker)
    assert set(found) == {number}


# Several people


@pytest.mark.parametrize("order", [1, -1])
def test_the_most_prominent_of_two_is_chosen_and_kept(order):
    large, small = person(170, 180, 250), person(500, 180, 90)
    scene = Scene(people=[large, small][::order])
    tracker = scene.tracker()
    sighting = scene.only(tracker)
    assert sighting is not None
    np.testing.assert_allclose(sighting.xy, large)
    # The other one comes nearer; who is followed stays the same.
    for _ in range(40):
        scene.people = [person(150, 180, 240), person(480, 180, 330)][::order]
        sighting = scene.only(tracker)
        assert sighting is not None
        np.testing.assert_allclose(sighting.xy, person(150, 180, 240))


def test_who_becomes_far_more_prominent_is_followed_instead():
    scene = Scene(people=[person(170, 180, 90)])
    tracker = scene.tracker()
    (first,) = scene.update(tracker)
    scene.people = [person(170, 180, 90), person(450, 180, 300)]
    numbers = [next(iter(scene.update(tracker))) for _ in range(20)]
    assert numbers[0] == first
    assert numbers[-1] != first


def test_three_people_keep_their_numbers():
    scene = Scene()
    tracker = scene.tracker(people=3)
    numbers = []
    for t in range(60):
        sway = 10 * np.sin(t / 5)
        scene.people = [person(x + sway, 180, height) for x, height in ((120, 150), (320, 190), (520, 150))]
        found = scene.update(tracker)
        by_place = sorted(found, key=lambda number: found[number].xy[:, 0].mean())
        numbers.append(by_place)
    assert len(numbers[0]) == 3
    assert numbers == [numbers[0]] * 60


def test_no_more_than_asked_for():
    scene = Scene(people=[person(x, 180, 150) for x in (100, 250, 400, 550)])
    tracker = scene.tracker(people=2)
    assert [len(scene.update(tracker)) for _ in range(30)] == [2] * 30


@pytest.mark.parametrize("wear", [[(40, 40, 200), (200, 120, 40)], []])
def test_numbers_survive_crossing(wear):
    """One walks past behind the other; for some frames both look the same to the detector."""
    scene = Scene(wear=wear)
    tracker = scene.tracker(people=2)
    for t in range(100):
        scene.people = [person(100 + 4.4 * t, 180, 150), person(540 - 4.4 * t, 185, 160)]
        found = scene.update(tracker)
        if t == 5:
            left, right = sorted(found, key=lambda number: found[number].xy[:, 0].mean())
    assert set(found) == {left, right}
    np.testing.assert_allclose(found[left].xy, scene.people[0])
    np.testing.assert_allclose(found[right].xy, scene.people[1])


def test_a_number_survives_a_short_absence():
    scene = Scene(people=[person(100, 180, 150), person(500, 180, 150)])
    tracker = scene.tracker(people=2)
    numbers = set(scene.update(tracker))
    scene.people = scene.people[:1]
    for _ in range(40):
        assert len(scene.update(tracker)) == 1
    scene.people = [person(100, 180, 150), person(520, 180, 150)]
    for _ in range(5):
        found = scene.update(tracker)
    assert set(found) == numbers


def test_after_long_the_clothes_tell():
    for wear, same in (((40, 40, 200), True), ((200, 120, 40), False)):
        scene = Scene(people=[person(100, 180, 150)], wear=[(40, 40, 200)], backdrop=90)
        tracker = scene.tracker()
        (number,) = scene.update(tracker)
        scene.people, scene.wear = [], []
        for _ in range(150):  # five seconds
            assert scene.update(tracker) == {}
        scene.people, scene.wear = [person(540, 180, 150)], [wear]
        for _ in range(4):
            found = scene.update(tracker)
        assert (set(found) == {number}) == same


def test_a_scene_cut_starts_anew():
    scene = Scene(people=[person(320, 180, 200)], backdrop=20)
    tracker = scene.tracker()
    for _ in range(10):
        (before,) = scene.update(tracker)
    scene.backdrop = 220
    (after,) = scene.update(tracker)
    assert after != before


@pytest.mark.parametrize("beside", [False, True])
def test_a_survey_comes_to_bear_after_the_same_number_of_frames(beside):
    """Whether it runs beside or not; and while nobody is followed, at once."""
    scene, asked, looked = Scene(people=[person(320, 180, 200)]), [], []

    def find_people(image: np.ndarray) -> list[Found]:
        asked.append((int(image[0, 0, 0]), threading.current_thread() is threading.main_thread()))
        return [Found(region_of(scene.people[0]), 0.9), Found(Region(60.0, 60.0, 80.0), 0.8)]  # there is nobody there

    def find_joints(image: np.ndarray, regions: Sequence[Region], turn: int | None) -> tuple[np.ndarray, np.ndarray]:
        looked.extend(int(image[0, 0, 0]) for region in regions if region.x == 60.0)
        return scene.find_joints(image, regions, turn)

    with ThreadPoolExecutor(1) as aside:
        options = TrackOptions(people=2, survey_s=0.19)
        tracker = Tracker(find_joints, find_people, LSP14, options, aside if beside else None)
        for frame in range(20):
            assert len(tracker.update(np.full((360, 640, 3), frame, np.uint8), frame / RATE)) == 1
    assert [frame for frame, _ in asked] == [0, 6, 12 + SURVEY_FRAMES]
    assert sorted(set(looked)) == [0, 6 + SURVEY_FRAMES, 12 + 2 * SURVEY_FRAMES]
    assert [main for _, main in asked] == [True, not beside, not beside]


def test_what_is_hardly_seen_and_never_found_is_nobody():
    """A tree that was taken for someone."""
    scene = Scene(people=[person(320, 180, 200)], clear=0.45)
    tracker = scene.tracker()
    scene.update(tracker)
    scene.blind = True
    seen = [bool(scene.update(tracker)) for _ in range(40)]
    assert all(seen[:20])
    assert not any(seen[31 + 2 * SURVEY_FRAMES :])  # after two surveys, half a second apart


def test_few_sure_joints_are_no_person():
    def find_joints(image: np.ndarray, regions: Sequence[Region], _turn: int | None) -> tuple[np.ndarray, np.ndarray]:
        xy = np.tile(person(320, 180, 200), (len(regions), 1, 1))
        score = np.zeros((len(regions), 14))
        score[:, :2] = 1
        return xy, score

    def find_people(image: np.ndarray) -> list[Found]:
        return [Found(Region(320, 180, 250), 0.9)]

    tracker = Tracker(find_joints, find_people, LSP14, TrackOptions(found=0.1))
    assert tracker.update(np.zeros((360, 640, 3), np.uint8), 0.0) == {}


def test_a_frame_of_one_pixel():
    scene = Scene(1, 1)
    assert scene.update(scene.tracker()) == {}


def test_the_track_of_sightings():
    one, later = Sighting(person(1, 2, 3), np.full(14, 0.5)), Sighting(person(4, 5, 6), np.full(14, 0.6))
    seen = SeenPeople(LSP14)
    seen.add(3, 0.12, {2: one, 7: later})
    seen.add(4, 0.16, {})
    seen.add(5, 0.2, {7: one, 2: later})
    track, other = seen.tracks((640, 360))
    assert track.frame.tolist() == other.frame.tolist() == [3, 5]
    np.testing.assert_array_equal(other.xy[::-1], track.xy)
    assert track.time_s.tolist() == [0.12, 0.2]
    assert track.size == (640, 360)
    np.testing.assert_array_equal(track.xy[1], person(4, 5, 6))
    assert (track.score == [[0.5], [0.6]]).all()


def test_the_track_of_nobody():
    (track,) = SeenPeople(LSP14).tracks((640, 360))
    assert len(track) == 0
    assert track.xy.shape == (0, 14, 2)
    assert track.score.shape == (0, 14)

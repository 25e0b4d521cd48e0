"""Where people are: found anywhere in the frame, then followed from one frame to the next, each under a number.

The finder says where people may be; a look of the detector tells who is there. To follow someone, the region comes from
the last keypoints. Someone who is lost, behind another person or out of sight, keeps the number for a while and gets it
back when found near where he or she must be by then, in the same clothes. A new scene starts anew.
"""

from array import array
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from pipeline.appearance import blended, colour_distance, colours
from pipeline.crop import Region, overlaps
from pipeline.cuts import CutDetector
from pipeline.poses import Track2D
from pipeline.sighting import Found, Sighting, likeness
from pipeline.skeleton import LIMB_JOINTS, Skeleton

# frame (H, W, 3), regions, turn -> joints (N, J, 2) in frame pixels, scores (N, J), by all looks at each region if the
# turn is None, else by the half whose turn it is: `hourglass.predict.Detector.views`
FindJoints = Callable[[np.ndarray, Sequence[Region], int | None], tuple[np.ndarray, np.ndarray]]
# frame (H, W, 3) -> people, the surest first
FindPeople = Callable[[np.ndarray], Sequence[Found]]

REMEMBERED = 20  # people who are lost
SURVEY_FRAMES = 2  # that a survey may take; people are where they were by then, more or less


@dataclass(frozen=True)
class TrackOptions:
    """When someone counts as found, how hard to look, and who is who."""

    people: int = 1  # followed at a time at most: the most prominent
    by_turns: bool = True  # who is followed is seen by half of the looks in one frame and by the others in the next
    found: float = 0.4  # mean score of the limb joints from which on someone is there
    kept: float = 0.28  # mean score down to which someone who is being followed still is
    likely: float = 0.3  # score of the finder from which on a place is looked at,
    hopeful: float = 0.15  # and while nobody is followed
    search_every: int = 3  # frames between searches while someone is missing
    survey_s: float = 0.5  # seconds between searches while nobody is
    candidates: int = 4  # places looked at in a search, beside those of the lost
    settle: int = 2  # looks that move a candidate's region onto the person
    shrink: float = 0.85  # a region's side falls at most by this factor from frame to frame
    same: float = 0.45  # likeness of two sightings from which on they are of one person
    forgotten_s: float = 3.0  # after so long someone who was lost may be anywhere, and is known by the clothes alone
    reach: float = 0.6  # how far from the expected place someone lost may be found, in sides of the region,
    reach_per_s: float = 0.8  # and how much further for every second
    other_colours: float = 24.0  # distance of colours from which on it is somebody else
    doubted: int = 2  # surveys in a row that do not find someone who is hardly seen, until he or she counts as lost
    outshines: float = 1.35  # how much more prominent somebody else must be to be followed instead


@dataclass
class _Person:
    """Someone who is followed, or was until `time_s`."""

    id: int
    sighting: Sighting
    region: Region  # to be looked at next
    time_s: float  # of the last sighting
    colours: np.ndarray
    prominence: float  # of late
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))  # of the region's centre, pixels per second
    lost: bool = False
    doubts: int = 0

    def expected(self, time_s: float) -> Sighting:
        """The last sighting moved to where the person must be by now."""
        return self.sighting.moved(self.velocity * (time_s - self.time_s))


@dataclass
class _Survey:
    """A look of the finder at a frame, whose people are asked for `frames` later."""

    found: Callable[[], Sequence[Found]]
    frames: int = SURVEY_FRAMES


Seen = tuple[_Person, Sighting, np.ndarray]  # someone who is followed, as seen now, and the colours that are worn


class Tracker:
    """Finds and follows the most prominent people, frame by frame."""

    def __init__(
        self,
        find_joints: FindJoints,
        find_people: FindPeople,
        skeleton: Skeleton,
        options: TrackOptions = TrackOptions(),
        aside: Executor | None = None,
    ) -> None:
        """Surveys are done `aside`, while people are followed; without that, in between."""
        self._find_joints, self._find_people, self._skeleton = find_joints, find_people, skeleton
        self._limbs = np.array(skeleton.indices(LIMB_JOINTS))
        self._options, self._aside = options, aside
        self._cuts = CutDetector()
        self._people: list[_Person] = []
        self._numbers = 0  # given so far
        self._turn = 0
        self._wait = 0  # frames until the next search
        self._surveyed = -np.inf  # when the finder was last asked, s
        self._survey: _Survey | None = None  # that was begun

    def update(self, image: np.ndarray, time_s: float) -> dict[int, Sighting]:
        """The people in the next frame (H, W, 3) uint8 BGR, at that time in seconds, by their numbers."""
        if self._cuts.update(image):
            self._people, self._wait, self._survey = [], 0, None
        self._follow(image, time_s)
        self._wait -= 1
        if self._search_is_due(time_s):
            self._survey = None
            self._search(self._find_people(image), image, time_s)
        elif self._survey is not None:
            self._await(self._survey, image, time_s)
        elif time_s - self._surveyed >= self._options.survey_s:
            self._survey = self._begin(image)
        self._let_go()
        return {person.id: person.sighting for person in self._followed}

    @property
    def _followed(self) -> list[_Person]:
        return [person for person in self._people if not person.lost]

    # Following

    def _follow(self, image: np.ndarray, time_s: float) -> None:
        """Look at everyone where he or she was, and mark as lost who is not there any more."""
        followed = self._followed
        self._turn = 1 - self._turn
        looks = self._look(image, [p.region for p in followed], turn=self._turn if self._options.by_turns else None)
        seen: list[Seen] = []
        for person, sighting in zip(followed, looks, strict=True):
            if self._presence(sighting) >= self._options.kept and sighting.region is not None:
                seen.append((person, sighting, colours(image, sighting, self._skeleton)))
            else:
                self._lose(person)
        for person, sighting, wears in self._without_doubles(seen, time_s):
            self._note(person, sighting, wears, time_s)

    def _without_doubles(self, seen: list[Seen], time_s: float) -> list[Seen]:
        """Those seen, less everyone who has been taken for somebody else: of two who look the same, the one whom it
        suits less is hidden.
        """
        if len(seen) < 2:
            return seen
        kept: list[Seen] = []
        for one in sorted(seen, key=lambda one: self._suits(one[0], one[1], one[2], time_s), reverse=True):
            if any(likeness(one[1], other) > self._options.same for _, other, _ in kept):
                self._lose(one[0])
            else:
                kept.append(one)
        return kept

    def _suits(self, person: _Person, sighting: Sighting, wears: np.ndarray, time_s: float) -> float:
        """How well a sighting goes with where the person must be and what he or she wears."""
        clothes = np.nan_to_num(colour_distance(person.colours, wears)) / self._options.other_colours
        return likeness(sighting, person.expected(time_s)) - clothes

    def _note(self, person: _Person, sighting: Sighting, wears: np.ndarray, time_s: float) -> None:
        """Write down where the person is now, and in what colours (3, 3)."""
        region, since = sighting.region, time_s - person.time_s
        assert region is not None
        if not person.lost:
            region = Region(region.x, region.y, max(region.side, person.region.side * self._options.shrink))
        if since > 0:
            moved = np.array([region.x - person.region.x, region.y - person.region.y]) / since
            person.velocity += 0.3 * (np.zeros(2) if person.lost else moved - person.velocity)
        person.sighting, person.region, person.time_s, person.lost = sighting, region, time_s, False
        person.colours = blended(person.colours, wears, share=0.1)
        person.prominence += 0.1 * (self._prominence(sighting) - person.prominence)

    def _lose(self, person: _Person) -> None:
        person.lost, person.doubts, self._wait = True, 0, min(self._wait, 1)

    # Searching

    def _search_is_due(self, time_s: float) -> bool:
        """Now and then while someone is missing."""
        recently = any(p.lost and time_s - p.time_s <= self._options.forgotten_s for p in self._people)
        missing = not self._followed or (recently and len(self._followed) < self._options.people)
        return missing and self._wait <= 0

    def _begin(self, image: np.ndarray) -> "_Survey":
        """Begin to look whether somebody has come, or is no person at all, though nobody is missing."""
        if self._aside is None:
            return _Survey(partial(self._find_people, image))
        return _Survey(self._aside.submit(self._find_people, image).result)

    def _await(self, survey: "_Survey", image: np.ndarray, time_s: float) -> None:
        """Go on from a survey when its time has come, always after the same number of frames: what is found must not
        depend on how quick the machine is.
        """
        survey.frames -= 1
        if survey.frames == 0:
            self._survey = None
            self._search(survey.found(), image, time_s)

    def _search(self, found: Sequence[Found], image: np.ndarray, time_s: float) -> None:
        """Look at the places where somebody new or lost may be, by what the finder found and where they were last."""
        self._wait, self._surveyed = self._options.search_every, time_s
        likely = self._options.likely if self._followed else self._options.hopeful
        found = [one for one in found if one.score >= likely]
        self._doubt(found)
        lost = [p for p in self._people if p.lost and time_s - p.time_s <= self._options.forgotten_s]
        places = self._unexplained(found)[: self._options.candidates]
        expected = [person.expected(time_s).region for person in lost]
        regions = [*places, *(region for region in expected if region is not None)]
        for sighting in self._settled(image, regions):
            if any(likeness(sighting, person.sighting) > self._options.same for person in self._followed):
                continue
            wears = colours(image, sighting, self._skeleton)
            back = self._recognised(sighting, wears, time_s)
            if back is not None:
                self._note(back, sighting, wears, time_s)
            else:
                self._welcome(sighting, wears, time_s)

    def _unexplained(self, found: Sequence[Found]) -> list[Region]:
        """Regions in which there may be somebody who is not followed yet and is prominent enough to be."""
        taken, least = _squares([person.region for person in self._followed]), self._to_outshine()
        regions = []
        for one in sorted(found, key=lambda one: one.score * one.region.side**0.5, reverse=True):
            hidden = len(taken) and overlaps(_squares([one.region]), taken).max() > 0.75
            if not hidden and one.region.side**0.5 > least:
                regions.append(one.region)
        return regions

    def _to_outshine(self) -> float:
        """What the prominence of somebody new must exceed: nothing while there is room."""
        if len(self._followed) < self._options.people:
            return -np.inf
        return min(person.prominence for person in self._followed) * self._options.outshines

    def _settled(self, image: np.ndarray, regions: Sequence[Region]) -> list[Sighting]:
        """Everyone in and around these regions, each once, the most prominent first."""
        sightings: list[Sighting] = []
        for _ in range(self._options.settle):
            sightings = self._look(image, regions)
            regions = [sighting.region for sighting in sightings if sighting.region is not None]
        present = [s for s in sightings if self._presence(s) >= self._options.found and s.region is not None]
        kept: list[Sighting] = []
        for sighting in sorted(present, key=self._prominence, reverse=True):
            if all(likeness(sighting, other) <= self._options.same for other in kept):
                kept.append(sighting)
        return kept

    def _recognised(self, sighting: Sighting, wears: np.ndarray, time_s: float) -> _Person | None:
        """Who of the lost this is, if anyone."""
        costs = [(self._strangeness(p, sighting, wears, time_s), p) for p in self._people if p.lost]
        cost, person = min(costs, key=lambda pair: pair[0], default=(np.inf, None))
        return person if cost < 1 else None

    def _strangeness(self, person: _Person, sighting: Sighting, wears: np.ndarray, time_s: float) -> float:
        """From 1 on the sighting is not of this person: too far off, much larger or smaller, or in other colours."""
        options, region, expected = self._options, sighting.region, person.expected(time_s).region
        away = time_s - person.time_s
        if region is None or expected is None:
            return np.inf
        clothes = colour_distance(person.colours, wears) / options.other_colours
        if away > options.forgotten_s:  # the clothes alone must tell, and clearly
            return 2 * clothes if np.isfinite(clothes) else np.inf
        # Nobody knows whether someone who is out of sight went on or stayed.
        last = person.region
        distance = min(np.hypot(region.x - place.x, region.y - place.y) for place in (expected, last))
        near = distance / (max(region.side, last.side) * (options.reach + options.reach_per_s * away))
        size = abs(np.log(region.side / last.side)) / np.log(2.0)
        return max(near, size, float(np.nan_to_num(clothes)))

    def _welcome(self, sighting: Sighting, wears: np.ndarray, time_s: float) -> None:
        """Follow somebody new, if there is room or he or she is more prominent than somebody who is followed."""
        region, prominence = sighting.region, self._prominence(sighting)
        assert region is not None
        if prominence <= self._to_outshine():
            return
        self._numbers += 1
        self._people.append(_Person(self._numbers, sighting, region, time_s, wears, prominence))

    # Letting go

    def _doubt(self, found: Sequence[Found]) -> None:
        """Someone who is hardly seen, and whom the finder does not find again and again, is no person any more."""
        squares = _squares([one.region for one in found])
        for person in self._followed:
            confirmed = len(squares) and overlaps(_squares([person.region]), squares).max() > 0.3
            clear = self._presence(person.sighting) >= 2 * self._options.kept
            person.doubts = 0 if confirmed or clear else person.doubts + 1
        # Not lost, or he or she would be looked for there at once, and found there.
        self._people = [person for person in self._people if person.doubts < self._options.doubted]

    def _let_go(self) -> None:
        """Forget the least prominent of too many, and of too many who are lost those who are for longest."""
        kept = sorted(self._followed, key=lambda person: person.prominence, reverse=True)[: self._options.people]
        lost = sorted((p for p in self._people if p.lost), key=lambda person: person.time_s)
        self._people = [*kept, *lost[-REMEMBERED:]]

    # Looks

    def _look(self, image: np.ndarray, regions: Sequence[Region], *, turn: int | None = None) -> list[Sighting]:
        if not regions:
            return []
        xy, score = self._find_joints(image, regions, turn)
        return [Sighting(points, values) for points, values in zip(xy, score, strict=True)]

    def _presence(self, sighting: Sighting) -> float:
        return float(sighting.score[self._limbs].mean())

    def _prominence(self, sighting: Sighting) -> float:
        region = sighting.region
        return 0.0 if region is None else self._presence(sighting) * region.side**0.5


def _squares(regions: Sequence[Region]) -> np.ndarray:
    """Regions as `overlaps` takes them (N, 3)."""
    return np.array([[region.x, region.y, region.side] for region in regions]).reshape(-1, 3)


class SeenPeople:
    """Who was seen in a clip, frame by frame.

    Kept as plain numbers, a row per person, and not as sightings: thousands of small objects, strewn between what every
    frame takes and gives back, would keep all that memory from the system.
    """

    def __init__(self, skeleton: Skeleton) -> None:
        self._skeleton = skeleton
        self._rows: dict[int, array[float]] = {}  # frame, time, joints, scores; and so on for the next frame

    def add(self, frame: int, time_s: float, sightings: Mapping[int, Sighting]) -> None:
        """Write down who is in a frame of this index and time, by their numbers."""
        for number, sighting in sightings.items():
            row = np.concatenate([(frame, time_s), sighting.xy.ravel(), sighting.score]).astype(np.float64)
            self._rows.setdefault(number, array("d")).frombytes(row.tobytes())

    def tracks(self, size: tuple[int, int]) -> list[Track2D]:
        """The track of each, first come first, in frames of a (width, height); an empty one if there was nobody."""
        return [self._track(rows, size) for rows in self._rows.values() or [array("d")]]

    def _track(self, rows: "array[float]", size: tuple[int, int]) -> Track2D:
        joints = len(self._skeleton)
        values = np.array(rows).reshape(-1, 2 + 3 * joints)
        xy, score = values[:, 2 : 2 + 2 * joints].reshape(-1, joints, 2), values[:, 2 + 2 * joints :]
        return Track2D(self._skeleton, values[:, 0].astype(np.int64), values[:, 1], xy, score, size)

"""The way of a live view, which knows nothing of the future: a leash."""

import numpy as np

from pipeline.render import Renderer
from pipeline.skeleton import H36M17
from pipeline.stage import LEASH_MM, NEW_SCENE_S, LiveWay


def walk(way: LiveWay, places: np.ndarray, *, fps: float = 30.0, start_s: float = 0.0) -> np.ndarray:
    """Where the view is (T, 2) while somebody goes through places (T, 2)."""
    gone = []
    for row, place in enumerate(places):
        time_s = start_s + row / fps
        way.go(place, time_s)
        gone.append(way.shift(time_s))
    assert (np.array(gone)[:, 2] == 0).all()
    return np.array(gone)[:, :2]


def test_it_starts_where_people_are_and_stands_still_while_they_are_near():
    around = np.stack([0.9 * LEASH_MM * np.cos(np.arange(60)), 0.9 * LEASH_MM * np.sin(np.arange(60))], -1)
    places = np.array([3000.0, 5000.0]) + np.concatenate([np.zeros((1, 2)), around])
    np.testing.assert_array_equal(walk(LiveWay(), places), np.tile(places[0], (61, 1)))


def test_it_follows_smoothly_at_the_speed_of_those_who_go_on():
    places = np.stack([1000.0 * np.arange(300) / 30, np.zeros(300)], -1)  # 1 m/s
    at = walk(LiveWay(), places)
    steps = np.diff(at[:, 0]) * 30
    assert (steps >= 0).all()
    np.testing.assert_allclose(steps[-30:], 1000, rtol=1e-3)
    assert np.abs(np.diff(steps)).max() < 100  # mm/s from frame to frame: no jerk
    assert LEASH_MM < places[-1, 0] - at[-1, 0] < 2.5 * LEASH_MM
    np.testing.assert_array_equal(at[:, 1], 0)


def test_how_often_it_is_asked_does_not_matter():
    def at(fps: float) -> np.ndarray:
        way = LiveWay()
        walk(way, np.zeros((1, 2)))
        return walk(way, np.tile([2000.0, 0.0], (round(fps), 1)), fps=fps, start_s=0.5)[-1]

    np.testing.assert_allclose(at(60), at(15), atol=0.05 * LEASH_MM)


def test_with_nobody_for_a_while_it_starts_anew():
    way = LiveWay()
    walk(way, np.zeros((10, 2)))
    way.go(np.array([9000.0, 100.0]), 9 / 30 + 1.1 * NEW_SCENE_S)
    np.testing.assert_array_equal(way.shift(0.0), [9000.0, 100.0, 0.0])


def test_the_floor_moves_with_it():
    way = LiveWay()
    renderer = Renderer((320, 240), [], way=way, skeleton_2d=H36M17, skeleton_3d=H36M17)
    frame = np.zeros((240, 320, 3), np.uint8)
    way.go(np.zeros(2), 0.0)
    before = renderer.draw(frame, [], 0.0)
    way.go(np.array([10_000.0, 0.0]), 5.0)  # a whole number of the floor's squares
    np.testing.assert_array_equal(renderer.draw(frame, [], 0.0), before)
    way.go(np.array([10_250.0, 0.0]), 10.0)  # half a square further
    assert (renderer.draw(frame, [], 0.0) != before).any()

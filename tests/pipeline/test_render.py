"""The side-by-side picture: what is drawn where, and that nothing else moves."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.canvas import Canvas
from pipeline.render import Figure, Renderer, RenderOptions, _Layout
from pipeline.skeleton import COCO17, H36M16, H36M17, LSP14, MPII16
from pipeline.stage import Stage

OPTIONS = RenderOptions()
SIZE = (640, 480)

# A person who stands with the arms down and looks away from the camera, world mm.
BODY = {
    "pelvis": (0, 0, 860), "spine": (0, 0, 1110), "thorax": (0, 0, 1360), "nose": (0, 0, 1450),
    "head_top": (0, 0, 1620),
    "l_hip": (-120, 0, 860), "l_knee": (-150, 0, 440), "l_ankle": (-180, 0, 0),
    "l_shoulder": (-190, 0, 1360), "l_elbow": (-260, 0, 1090), "l_wrist": (-290, 0, 840),
}  # fmt: skip
BODY |= {"r_" + name[2:]: (-x, y, z) for name, (x, y, z) in BODY.items() if name.startswith("l_")}


def body(skeleton=H36M16) -> np.ndarray:
    return np.array([BODY[joint] for joint in skeleton.joints], np.float64)


def flat(skeleton=LSP14, *, scale: float = 0.25, centre: tuple[float, float] = (320, 430)) -> np.ndarray:
    """The same person in pixels of a frame."""
    places = BODY | {"neck": BODY["thorax"]}
    return np.array([(centre[0] + scale * places[j][0], centre[1] - scale * places[j][2]) for j in skeleton.joints])


def sure(count: int = 14) -> np.ndarray:
    return np.ones(count)


def photo(width: int = SIZE[0], height: int = SIZE[1]) -> np.ndarray:
    return np.random.default_rng(0).integers(90, 160, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer(SIZE, [body()[None]], skeleton_2d=LSP14, skeleton_3d=H36M16)


@pytest.fixture(scope="module")
def empty(renderer) -> np.ndarray:
    return renderer.draw(photo(), [], 0.0)


def right_panel(picture: np.ndarray) -> np.ndarray:
    return picture[:, SIZE[0] + 2 :]


def where(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Rows and columns (N, 2) of the pixels that have exactly this colour."""
    return np.argwhere((picture == colour).all(axis=-1))


@pytest.mark.parametrize(
    ("frame", "picture"),
    [
        ((1280, 720), (2002, 720)),
        ((1920, 1080), (3002, 1080)),
        ((3840, 2160), (3002, 1080)),  # scaled down to 1080 lines
        ((1080, 1920), (1366, 1080)),  # portrait: 608 beside 756
        ((640, 480), (1122, 480)),
        ((320, 240), (562, 240)),
        ((16, 16), (482, 240)),  # scaled up to 240 lines
        ((1, 1), (482, 240)),
    ],
)
def test_size_of_the_picture(frame, picture):
    assert _Layout.of(frame, OPTIONS).size == picture


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 9000), st.integers(1, 9000))
def test_sizes_are_even_and_bounded(width, height):
    layout = _Layout.of((width, height), OPTIONS)
    assert layout.size[0] % 2 == layout.size[1] % 2 == 0
    assert OPTIONS.min_height <= layout.size[1] <= OPTIONS.max_height
    assert 0.65 * layout.size[1] < layout.view_size[0] <= layout.size[1] + 1
    assert all(drawn <= panel for drawn, panel in zip(layout.drawn_size, layout.panel_size, strict=True))


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (3, 400), (400, 3), (641, 363), (2000, 1300)])
def test_frames_of_any_size_are_drawn(size):
    joints = flat(scale=size[1] / 2000, centre=(size[0] / 2, 0.95 * size[1]))
    renderer = Renderer(size, [body()[None]], skeleton_2d=LSP14, skeleton_3d=H36M16)
    picture = renderer.draw(photo(*size), [Figure(joints, sure(), body())], 1.5)
    assert picture.shape == (renderer.size[1], renderer.size[0], 3)
    assert picture.dtype == np.uint8


def test_the_frame_is_shown_as_it_is(empty):
    np.testing.assert_array_equal(empty[:, : SIZE[0]], photo())


def test_a_frame_of_another_size_is_refused(renderer):
    with pytest.raises(ValueError, match="expected a frame of"):
        renderer.draw(photo(480, 640), [], 0.0)


def test_drawing_is_deterministic_and_leaves_its_inputs_alone(renderer):
    image, figure = photo(), Figure(flat(), sure(), body())
    first = renderer.draw(image, [figure], 0.5)
    np.testing.assert_array_equal(renderer.draw(image, [figure], 0.5), first)
    np.testing.assert_array_equal(image, photo())
    np.testing.assert_array_equal(figure.xy, flat())
    np.testing.assert_array_equal(figure.xyz, body())


def test_left_is_blue_and_right_is_red_in_2d(renderer):
    assert OPTIONS.left[0] > 200 > OPTIONS.left[2]  # BGR
    assert OPTIONS.right[2] > 200 > OPTIONS.right[0]
    picture = renderer.draw(photo(), [Figure(flat(), sure(), body())], 0.0)
    joints = dict(zip(LSP14.joints, flat(), strict=True))
    for bone, colour in (
        (("l_hip", "l_knee"), OPTIONS.left),
        (("l_elbow", "l_wrist"), OPTIONS.left),
        (("r_hip", "r_knee"), OPTIONS.right),
        (("neck", "r_hip"), OPTIONS.right),
        (("neck", "head_top"), OPTIONS.middle_2d),
    ):
        x, y = np.rint((joints[bone[0]] + joints[bone[1]]) / 2).astype(int)
        assert tuple(picture[y, x]) == colour, bone


def test_left_is_blue_and_right_is_red_in_3d(renderer):
    view = right_panel(renderer.draw(photo(), [Figure(flat(), sure(), body())], 0.0))
    above_legend = view[: int(0.9 * len(view))]
    blue, red = where(above_legend, OPTIONS.left), where(above_legend, OPTIONS.right)
    assert min(len(blue), len(red)) > 300
    # seen from behind, the left side is on the left, as in the frame
    assert np.percentile(blue[:, 1], 90) < np.percentile(red[:, 1], 10)


def test_without_people_no_skeleton_is_drawn(renderer, empty):
    view = right_panel(empty)
    assert len(where(view[: int(0.9 * len(view))], OPTIONS.left)) == 0
    assert len(where(view[: int(0.9 * len(view))], OPTIONS.middle)) == 0
    assert len(where(empty[:, : SIZE[0]], OPTIONS.outline_2d)) == 0


def test_a_person_without_3d_changes_the_left_panel_only(renderer, empty):
    picture = renderer.draw(photo(), [Figure(flat(), sure())], 0.0)
    np.testing.assert_array_equal(right_panel(picture), right_panel(empty))
    assert (picture[:, : SIZE[0]] != empty[:, : SIZE[0]]).any()


def test_unsure_joints_are_left_out_with_their_bones(renderer, empty):
    score = sure()
    score[LSP14.index("l_knee")] = 0.1
    picture = renderer.draw(photo(), [Figure(flat(), score)], 0.0)
    joints = dict(zip(LSP14.joints, flat(), strict=True))
    for joint, bone in (("l_hip", "l_knee"), ("l_knee", "l_ankle")):
        x, y = np.rint((joints[joint] + joints[bone]) / 2).astype(int)
        np.testing.assert_array_equal(picture[y, x], empty[y, x])
    x, y = np.rint(joints["l_ankle"]).astype(int)
    assert tuple(picture[y, x]) == OPTIONS.left
    nobody = renderer.draw(photo(), [Figure(flat(), 0 * sure())], 0.0)
    np.testing.assert_array_equal(nobody, empty)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30, -1e300])
def test_joints_that_are_no_numbers_are_left_out(renderer, empty, bad):
    joints, pose = flat(), body()
    joints[3], pose[5] = (bad, 100), (100, 200, bad)
    picture = renderer.draw(photo(), [Figure(joints, sure(), pose)], 0.0)
    assert (picture != empty).any()
    everything = Figure(np.full((14, 2), bad), np.full(14, np.nan), np.full((16, 3), bad))
    np.testing.assert_array_equal(renderer.draw(photo(), [everything], 0.0), empty)


def test_far_points_keep_their_direction():
    """A bone that leaves the frame is the same whether it ends a little or very far outside."""
    renderer = Renderer(SIZE, [], skeleton_2d=LSP14, skeleton_3d=H36M16)
    pictures = []
    for reach in (10.0, 1e3, 1e6):
        joints = np.full((14, 2), np.nan)
        joints[LSP14.index("l_knee")] = 100, 100
        joints[LSP14.index("l_ankle")] = 100 + 100 * reach, 100 + 50 * reach
        pictures.append(renderer.draw(photo(), [Figure(joints, sure())], 0.0).astype(int))
    assert np.abs(pictures[0] - pictures[1]).max() < 40  # an edge pixel's shade
    assert np.abs(pictures[0] - pictures[2]).max() < 40


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-1e7, 1e7)] * 3), min_size=16, max_size=16))
def test_no_pose_breaks_the_drawing(points):
    renderer = Renderer((64, 48), [body()[None]], skeleton_2d=H36M16, skeleton_3d=H36M16)
    pose = np.array(points)
    assert renderer.draw(photo(64, 48), [Figure(pose[:, :2], sure(16), pose)], 0.0).any()


def test_the_view_does_not_move():
    """The floor is the same pixel for pixel, whatever the person does."""
    poses = body() + np.random.default_rng(3).normal(0, 60, (20, 16, 3))
    renderer = Renderer(SIZE, [poses], skeleton_2d=LSP14, skeleton_3d=H36M16)
    stage = right_panel(renderer.draw(photo(), [], 0.0)).astype(int)
    for pose in poses[:5]:
        view = right_panel(renderer.draw(photo(), [Figure(flat(), sure(), pose)], 0.0)).astype(int)
        same = (view == stage).all(axis=-1)
        assert same.mean() > 0.8
        assert same[:, : view.shape[1] // 8].all()
        assert same[:, -view.shape[1] // 8 :].all()


def test_everybody_is_in_view_but_stray_frames_do_not_count():
    walk = body() + np.linspace((-2000, 0, 0), (2000, 1000, 0), 200)[:, None]
    options = {"skeleton_2d": LSP14, "skeleton_3d": H36M16}
    renderer = Renderer(SIZE, [walk], **options)
    stage = right_panel(renderer.draw(photo(), [], 0.0))
    for pose in walk[[3, 100, -4]]:
        view = right_panel(renderer.draw(photo(), [Figure(flat(), sure(), pose)], 0.0))
        rows, columns = np.nonzero((view != stage).any(axis=-1))
        assert 0.02 * view.shape[1] < columns.min() <= columns.max() < 0.98 * view.shape[1]
        assert 0.02 * view.shape[0] < rows.min() <= rows.max() < 0.98 * view.shape[0]
    stray = walk.copy()
    stray[50] += 1e5
    np.testing.assert_allclose(
        Renderer(SIZE, [stray], **options).draw(photo(), [], 0.0).astype(int),
        renderer.draw(photo(), [], 0.0),
        atol=90,  # lines of the grid may lie a pixel elsewhere
    )
    assert (
        Renderer(SIZE, [stray], **options)._stage.camera.translation[2] < 1.05 * renderer._stage.camera.translation[2]
    )


def far_walk(metres: float, count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """World poses (T, J, 3) of someone who is moved along, and their times (T,)."""
    return body() + np.linspace((0, 0, 0), (1000 * metres, 400 * metres, 0), count)[:, None], np.arange(count) / 30


def drawn_at(renderer: Renderer, pose: np.ndarray, time_s: float) -> np.ndarray:
    """The corners (2, 2) of what is drawn of a person in the 3D view, as shares of its width and height."""
    view, empty = (
        right_panel(renderer.draw(photo(), figures, time_s)) for figures in ([Figure(flat(), sure(), pose)], [])
    )
    rows, columns = np.nonzero((view != empty).any(axis=-1))
    return np.array([[columns.min(), rows.min()], [columns.max(), rows.max()]]) / view.shape[1::-1]


def test_a_short_way_is_walked_through_a_still_view_and_a_long_one_is_followed():
    for metres, follows in ((1, False), (12, True)):
        walk, times = far_walk(metres)
        renderer = Renderer(SIZE, [walk], times=[times], skeleton_2d=LSP14, skeleton_3d=H36M16)
        assert renderer._stage.follows == follows
        floors = [right_panel(renderer.draw(photo(), [], times[row]))[:-80] for row in (50, 70)]
        assert (floors[0] != floors[1]).any() == follows
        first, last = (drawn_at(renderer, walk[row], times[row]).mean(0) for row in (2, -3))
        moved = np.abs(last - first)[0]
        assert (moved < 0.02) == follows
        for row in (2, 100, -3):
            low, high = drawn_at(renderer, walk[row], times[row])
            assert low.min() > 0.02
            assert high.max() < 0.98
            assert high[1] - low[1] > 0.35  # not tiny
    still = Renderer(SIZE, [walk], skeleton_2d=LSP14, skeleton_3d=H36M16)  # when is not known
    assert not still._stage.follows


def floor_at(stage: Stage, shift: np.ndarray) -> np.ndarray:
    """The floor (H, W, 3) BGR of a view that has gone by a shift (3,), mm."""
    size = stage._floor._plain.image.shape[1::-1]
    view = Canvas.like(np.zeros((1, 1, 3), np.uint8), size)
    stage._floor.paint(view, shift)
    return view.layers[0]


def test_a_view_that_follows_shows_the_floor_of_the_world():
    """The lines of the floor pass by as fast as the person walks: by a whole square they are where they were."""
    walk, times = far_walk(15, 301)
    renderer = Renderer(SIZE, [walk], times=[times], skeleton_2d=LSP14, skeleton_3d=H36M16)
    stage = renderer._stage
    shifts = np.array([stage.shift(t) for t in times])
    np.testing.assert_allclose(np.diff(shifts, axis=0), np.diff(walk[:, 0], axis=0), atol=1)
    assert stage.shift(-5.0)[2] == 0
    square = renderer.options.grid_mm
    here = floor_at(stage, np.array([120.0, 70.0, 0.0]))
    np.testing.assert_array_equal(here, floor_at(stage, np.array([120.0 + 3 * square, 70.0 - 2 * square, 0.0])))
    assert (here != floor_at(stage, np.array([120.0 + square / 2, 70.0, 0.0]))).any()
    # a line of the world stays a line of the world
    for shift in (np.zeros(3), np.array([130.0, 0, 0]), np.array([0, 210.0, 0])):
        middle = stage.camera.to_world(np.array([0.0, 0, stage.camera.translation[2]]))
        crossing = np.round((middle + shift)[:2] / square) * square
        x, y = np.rint(stage.camera.project(np.array([*crossing, 0.0]) - shift)).astype(int)
        dark = floor_at(stage, shift).astype(int).sum(-1)
        assert dark[y, x] < np.median(dark[y - 4 : y + 5, x - 4 : x + 5])


def test_the_way_of_several_people_is_that_of_their_middle_and_goes_on_without_them():
    walk, times = far_walk(12)
    other = walk + np.array([0, 2000, 0])
    stage = Renderer(SIZE, [walk, other], times=[times, times], skeleton_2d=LSP14, skeleton_3d=H36M16)._stage
    np.testing.assert_allclose(
        stage.shift(times[100])[:2], np.nanmedian(other[100], 0)[:2] - np.array([0, 1000]), atol=5
    )
    gone = np.r_[0:80, 140:200]
    stage = Renderer(SIZE, [walk[gone]], times=[times[gone]], skeleton_2d=LSP14, skeleton_3d=H36M16)._stage
    np.testing.assert_allclose(stage.shift(times[110])[:2], np.nanmedian(walk[110], 0)[:2], atol=5)


def test_a_clip_without_poses_shows_the_floor_and_any_pose_fits():
    nothing = np.full((3, 16, 3), np.nan)
    empty_clips = [
        Renderer(SIZE, poses, skeleton_2d=LSP14, skeleton_3d=H36M16).draw(photo(), [], 0.0)
        for poses in ([], [nothing], [nothing[:0]])
    ]
    assert right_panel(empty_clips[0]).std() > 1
    np.testing.assert_array_equal(empty_clips[0], empty_clips[1])
    np.testing.assert_array_equal(empty_clips[0], empty_clips[2])
    point = np.zeros((1, 16, 3))
    Renderer(SIZE, [point], skeleton_2d=LSP14, skeleton_3d=H36M16).draw(
        photo(), [Figure(flat(), sure(), point[0])], 0.0
    )


def test_the_nearer_body_hides_the_farther_one_in_any_order(renderer):
    near, far = Figure(flat(), 0 * sure(), body()), Figure(flat(), 0 * sure(), body() + np.array([0, 500, 0]))
    one, other = (right_panel(renderer.draw(photo(), order, 0.0)).astype(int) for order in ((near, far), (far, near)))
    assert np.abs(one - other).max() <= 2  # shadows multiply, and round


def test_the_shadow_lies_under_the_feet(renderer, empty):
    stage = right_panel(empty).astype(int)
    view = right_panel(renderer.draw(photo(), [Figure(flat(), sure(), body())], 0.0)).astype(int)
    ankles = renderer._stage.camera.project(np.array([BODY["l_ankle"], BODY["r_ankle"]], np.float64))
    x, y = np.rint(ankles.mean(axis=0)).astype(int)
    assert (view[y, x] < stage[y, x] - 8).all()


@pytest.mark.parametrize("skeleton", [LSP14, H36M16, H36M17, MPII16, COCO17])
def test_any_2d_skeleton_can_be_drawn(skeleton):
    renderer = Renderer(SIZE, [], skeleton_2d=skeleton, skeleton_3d=H36M17)
    joints = np.random.default_rng(1).uniform(50, 400, (len(skeleton), 2))
    picture = renderer.draw(photo(), [Figure(joints, sure(len(skeleton)), body(H36M17))], 0.0)
    for joint, (x, y) in zip(skeleton.joints, np.rint(joints).astype(int), strict=True):
        assert tuple(picture[y, x]) in (OPTIONS.left, OPTIONS.right, OPTIONS.middle_2d), joint


def test_2d_joints_follow_a_scaled_frame():
    """Pixel centres are at integers: p becomes (p + 0.5) * s - 0.5."""
    renderer = Renderer((60, 40), [], skeleton_2d=LSP14, skeleton_3d=H36M16)
    joints = np.full((14, 2), np.nan)
    joints[LSP14.index("head_top")] = 29.5, 19.5
    picture = renderer.draw(np.zeros((40, 60, 3), np.uint8), [Figure(joints, sure())], 0.0)
    rows, columns = where(picture[:, :360], OPTIONS.middle_2d).T
    assert rows.mean() == pytest.approx(6 * 20 - 0.5, abs=0.1)
    assert columns.mean() == pytest.approx(6 * 30 - 0.5, abs=0.1)


def test_only_the_time_differs_between_frames_without_people(renderer, empty):
    later = renderer.draw(photo(), [], 12.34)
    rows, columns = np.nonzero((later != empty).any(axis=-1))
    assert rows.min() > 0.9 * SIZE[1]
    assert columns.min() > SIZE[0] + 0.6 * SIZE[1]


def test_options_change_the_picture():
    options = RenderOptions(left=(1, 2, 3), max_height=300, min_score=0.9)
    renderer = Renderer(SIZE, [body()[None]], skeleton_2d=LSP14, skeleton_3d=H36M16, options=options)
    assert renderer.size == (702, 300)
    picture = renderer.draw(photo(), [Figure(flat(), 0.8 * sure(), body())], 0.0)
    assert len(where(picture[:, 402:], (1, 2, 3))) > 100
    np.testing.assert_array_equal(picture[:, :400], cv2.resize(photo(), (400, 300), interpolation=cv2.INTER_AREA))

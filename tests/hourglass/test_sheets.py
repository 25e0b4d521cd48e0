"""Contact sheets: what is drawn, where and in which colour, and which photos are the worst."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from hourglass.data import PhotoSet, read_photos
from hourglass.metrics import torso_length
from hourglass.sheets import (
    CAPTION,
    COLUMNS,
    EMPTY,
    GAP,
    PAPER,
    SIDES,
    TILE,
    WHITE,
    check_sheet,
    sample_sheet,
    sheet,
    tile,
    worst_rows,
    worst_sheet,
    write_sheet,
)
from pipeline.crop import Region
from pipeline.errors import OutputError
from pipeline.skeleton import LSP14
from tests.hourglass.photos import people, standing, write_lspet

ALL = np.ones(14, bool)


@pytest.fixture
def photos(tmp_path) -> PhotoSet:
    return read_photos(f"lspet:{write_lspet(tmp_path / 'set', people(8), np.ones((8, 14), bool))}")


def drawn(predicted: np.ndarray, true: np.ndarray, labelled: np.ndarray = ALL) -> np.ndarray:
    """The tile of a grey photo as large as a tile."""
    image, middle = np.full((TILE, TILE, 3), 128, np.uint8), (TILE - 1) / 2
    return tile(
        image,
        Region(middle, middle, TILE),
        predicted=predicted,
        true=true,
        labelled=labelled,
        skeleton=LSP14,
        caption="im00001.jpg",
    )


def pixels(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (np.abs(picture.astype(int) - colour).max(-1) <= 2).nonzero()


def half_way(xy: np.ndarray, first: str, second: str) -> tuple[int, int]:
    x, y = (xy[LSP14.index(first)] + xy[LSP14.index(second)]) / 2
    return round(float(y)), round(float(x))


def test_left_is_blue_and_right_is_red():
    xy, nothing = standing(100, 100, 150), np.zeros(14, bool)
    picture = drawn(xy, np.zeros((14, 2)), nothing)
    for part in (("hip", "knee"), ("shoulder", "elbow")):
        for prefix, side in (("l_", "left"), ("r_", "right")):
            assert tuple(picture[half_way(xy, prefix + part[0], prefix + part[1])]) == SIDES[side]
            assert tuple(picture[half_way(xy, "neck", prefix + "shoulder")]) == SIDES[side]
    assert tuple(picture[half_way(xy, "neck", "head_top")]) == SIDES["middle"]
    assert len(pixels(picture[:TILE], WHITE)[0]) == 0
    # Facing the camera: his left is on our right.
    assert pixels(picture[:TILE], SIDES["left"])[1].min() >= 99
    assert pixels(picture[:TILE], SIDES["right"])[1].max() <= 101


def test_labels_are_white_with_dots_of_their_side():
    xy = standing(100, 100, 150)
    picture = drawn(np.full((14, 2), np.nan), xy)
    assert picture[half_way(xy, "l_hip", "l_knee")].min() > 200
    for joint, (x, y) in enumerate(xy):
        assert tuple(picture[round(float(y)), round(float(x))]) == SIDES[LSP14.sides[joint]]


def test_a_joint_without_a_label_is_not_drawn_nor_its_bones():
    xy, labelled = standing(100, 100, 150), ALL.copy()
    labelled[LSP14.index("l_knee")] = False
    picture = drawn(np.full((14, 2), np.nan), xy, labelled)
    assert (picture[half_way(xy, "l_hip", "l_knee")] == 128).all()
    assert (picture[half_way(xy, "l_knee", "l_ankle")] == 128).all()
    assert picture[half_way(xy, "r_hip", "r_knee")].min() > 200


def test_joints_far_outside_are_no_trouble():
    xy = standing(100, 100, 150)
    xy[0], xy[5] = (1e30, -1e30), (np.inf, np.nan)
    assert drawn(xy, xy).shape == (TILE + CAPTION, TILE, 3)


def test_a_region_of_the_photo_is_enlarged():
    image = np.zeros((80, 60, 3), np.uint8)
    image[30:50, 20:40] = 200
    xy = np.full((14, 2), np.nan)
    nothing = np.zeros(14, bool)
    region = Region(29.5, 39.5, 20)
    picture = tile(image, region, predicted=xy, true=xy, labelled=nothing, skeleton=LSP14, caption="")
    assert (picture[5 : TILE - 5, 5 : TILE - 5] == 200).all()
    assert (picture[TILE:] == PAPER).all()
    assert (image[30:50, 20:40] == 200).all()


def test_the_photo_itself_is_not_drawn_on():
    image = np.full((TILE, TILE, 3), 128, np.uint8)
    xy, region = standing(100, 100, 150), Region((TILE - 1) / 2, (TILE - 1) / 2, TILE)
    tile(image, region, predicted=xy, true=xy, labelled=ALL, skeleton=LSP14, caption="x")
    assert (image == 128).all()


@pytest.mark.parametrize("count", [0, 1, 5, 6, 7])
def test_tiles_stand_in_rows(count):
    tiles = [np.full((TILE + CAPTION, TILE, 3), 10 * (i + 1), np.uint8) for i in range(count)]
    picture = sheet(tiles, title="title")
    rows, head = -(-count // COLUMNS), 2 * CAPTION + GAP
    assert picture.shape == (head + rows * (TILE + CAPTION + GAP), GAP + COLUMNS * (TILE + GAP), 3)
    assert (picture[:CAPTION] != PAPER).any()
    for i, one in enumerate(tiles):
        top, left = head + i // COLUMNS * (TILE + CAPTION + GAP), GAP + i % COLUMNS * (TILE + GAP)
        assert (picture[top : top + TILE + CAPTION, left : left + TILE] == one).all()
        picture[top : top + TILE + CAPTION, left : left + TILE] = PAPER
    assert (picture[2 * CAPTION :] == PAPER).all()  # and nothing else below the legend


def test_a_sheet_of_samples_shows_these_rows_in_this_order(photos):
    predicted = photos.xy.astype(float)
    for row in range(8):
        predicted[row] += row
    head = 2 * CAPTION + GAP

    def shown(row: int) -> np.ndarray:
        caption = sample_sheet(photos, predicted, [row])
        return caption[head : head + TILE + CAPTION, GAP : GAP + TILE]

    both = sample_sheet(photos, predicted, [5, 2])
    assert (both[head : head + TILE + CAPTION, GAP : GAP + TILE] == shown(5)).all()
    assert (both[head : head + TILE + CAPTION, 2 * GAP + TILE : 2 * (GAP + TILE)] == shown(2)).all()
    assert (shown(5) != shown(2)).any()
    everything = sample_sheet(photos, predicted)
    assert (everything == sample_sheet(photos, predicted, range(8))).all()


def test_photos_that_cannot_be_shown_stay_grey(photos):
    predicted = photos.xy.astype(float)
    predicted[1] = np.nan
    some = replace(photos, files=[photos.files[0].with_name("gone.jpg"), *photos.files[1:]])
    picture = sample_sheet(some, predicted, [0, 1, 2])
    top = 2 * CAPTION + GAP
    grey = [(picture[top : top + TILE, GAP + i * (TILE + GAP) :][:, :TILE] == EMPTY).all() for i in range(3)]
    assert grey == [True, True, False]


def off(photos: PhotoSet, misses: dict[int, int], *, torsos: float = 1.0) -> np.ndarray:
    """Predictions in which the first joints of a row, so many, are off by so many torsos; the others are true."""
    predicted = photos.xy.astype(float)
    length = torso_length(photos.xy, photos.labelled, photos.skeleton)
    for row, count in misses.items():
        predicted[row, :count, 0] += torsos * length[row]
    return predicted


def test_the_worst_are_the_worst(photos):
    predicted = off(photos, {0: 1, 3: 9, 4: 2, 6: 14})
    assert worst_rows(photos, predicted, 4) == [6, 3, 4, 0]
    assert worst_rows(photos, predicted, 2) == [6, 3]
    assert len(worst_rows(photos, predicted, 99)) == 8


def test_of_equals_the_larger_error_is_worse(photos):
    predicted = off(photos, dict.fromkeys(range(8), 4))
    length = torso_length(photos.xy, photos.labelled, photos.skeleton)
    predicted[5, :4, 0] += 0.5 * length[5]
    predicted[2, :4, 0] += 0.3 * length[2]
    assert worst_rows(photos, predicted, 2) == [5, 2]


def test_the_share_is_of_labelled_joints(photos):
    labelled = photos.labelled.copy()
    labelled[1, 12:] = False  # 3 of its 12 labels are missed, and of photo 4 3 of 14
    labelled[5, :2] = False  # 2 of 12
    labelled[7] = False
    some = replace(photos, labelled=labelled)
    assert worst_rows(some, off(photos, {1: 3, 4: 3, 5: 4, 7: 14}, torsos=2.0), 3) == [1, 4, 5]


def test_photos_without_torso_or_prediction_are_not_ranked(photos):
    labelled = photos.labelled.copy()
    labelled[0, LSP14.indices(("l_shoulder", "r_shoulder"))] = False
    predicted = off(photos, {0: 14, 1: 14, 2: 3})
    predicted[1] = np.nan
    assert worst_rows(replace(photos, labelled=labelled), predicted, 8) == [2, 3, 4, 5, 6, 7]


def test_the_sheet_of_the_worst(photos):
    predicted = off(photos, {3: 9, 6: 14})
    title = "The worst 2 of 8 photos of lspet"
    assert (worst_sheet(photos, predicted, 2) == sample_sheet(photos, predicted, [6, 3], title=title)).all()


def test_a_sheet_is_written_as_it_is(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    write_sheet(tmp_path / "sheet.png", picture)
    assert (cv2.imread(str(tmp_path / "sheet.png")) == picture).all()
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sheet.jpg", r"sheet\.jpg: contact sheets are PNG pictures; give a name that ends in \.png"),
        ("missing/sheet.png", "there is no folder .*missing; create it first"),
        ("folder.png", "is a folder"),
    ],
)
def test_a_bad_place_is_found_before_anything_is_drawn(tmp_path: Path, name: str, message: str):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OutputError, match=message):
        check_sheet(tmp_path / name)
    check_sheet(tmp_path / "good.PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.png"]


def test_a_full_disk_is_one_message(tmp_path, monkeypatch):
    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match=r"sheet\.png: cannot be written \(No space left on device\)"):
        write_sheet(tmp_path / "sheet.png", np.zeros((4, 4, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []

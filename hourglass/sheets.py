"""Contact sheets: labelled photos with the true and the predicted skeleton of each, side by side in one picture.

Colours are BGR, as OpenCV has them: blue on the left of the body, red on the right, green in between. The labels are a
thin white line with dots of these colours, so that a prediction that swaps the sides shows.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from hourglass.data import PhotoSet
from hourglass.metrics import PCK_AT, correct, torso_length
from pipeline.atomic import check_writable, write_whole
from pipeline.crop import Region
from pipeline.errors import DataError, OutputError
from pipeline.skeleton import Skeleton

Colour = tuple[int, int, int]

TILE, CAPTION, GAP = 200, 20, 4  # side of a tile, height of the line below it, space around both, px
TILES, COLUMNS = 24, 6  # of a sheet, and side by side
DOT = 2  # radius of a label's dot without its white rim, px
SUBPIXEL_BITS = 4  # points go to OpenCV in 1/16 px
FAR = 1e4  # px; no point of a tile is drawn farther away
LETTER = 0.4  # size of OpenCV's font
NAME_LETTERS = 19  # of a file's name fit below a tile, beside the score

WHITE: Colour = (255, 255, 255)
DARK: Colour = (40, 36, 34)
PAPER: Colour = (250, 250, 250)
INK: Colour = (60, 56, 54)
EMPTY: Colour = (222, 222, 222)
SIDES: dict[str, Colour] = {"left": (230, 119, 31), "right": (56, 56, 222), "middle": (70, 190, 80)}

LEGEND = "blue, red, green: left, right, middle    lines: predicted    white, dots: labels    score: PCK@0.2"


def tile(
    image: np.ndarray,
    region: Region,
    *,
    predicted: np.ndarray,
    true: np.ndarray,
    labelled: np.ndarray,
    skeleton: Skeleton,
    caption: str,
) -> np.ndarray:
    """A region of a photo (H, W, 3) uint8 BGR with joints (J, 2) in photo pixels, predicted and true, and a line of
    text below: (TILE + CAPTION, TILE, 3). True joints that are not labelled (J,) and predicted ones that are not finite
    are left out, and the bones that end there.
    """
    view = region.cut(image, TILE)
    labels, found = _places(region.to_crop(true, TILE), labelled), _places(region.to_crop(predicted, TILE))
    for colour, thickness in ((DARK, 3), (WHITE, 1)):
        _draw_bones(view, labels, skeleton, colours=dict.fromkeys(SIDES, colour), thickness=thickness)
    _draw_bones(view, found, skeleton, colours=SIDES, thickness=2)
    for joint, place in labels.items():
        for colour, radius in ((WHITE, DOT + 1), (SIDES[skeleton.sides[joint]], DOT)):
            cv2.circle(view, place, radius << SUBPIXEL_BITS, colour, cv2.FILLED, cv2.LINE_AA, SUBPIXEL_BITS)
    return _captioned(view, caption)


def _places(xy: np.ndarray, known: np.ndarray | bool = True) -> dict[int, tuple[int, int]]:
    """The known and finite ones of joints (J, 2) in pixels, by index, in OpenCV's units."""
    drawn = np.flatnonzero(known & np.isfinite(xy).all(-1))
    points = np.round(np.clip(xy[drawn], -FAR, FAR) * 2**SUBPIXEL_BITS).astype(int).tolist()
    return {joint: (x, y) for joint, (x, y) in zip(drawn.tolist(), points, strict=True)}


def _draw_bones(
    view: np.ndarray,
    places: dict[int, tuple[int, int]],
    skeleton: Skeleton,
    *,
    colours: dict[str, Colour],
    thickness: int,
) -> None:
    for parent, child in skeleton.edges:
        if parent in places and child in places:
            colour = colours[skeleton.sides[child]]
            cv2.line(view, places[parent], places[child], colour, thickness, cv2.LINE_AA, SUBPIXEL_BITS)


def _captioned(view: np.ndarray, caption: str) -> np.ndarray:
    line = np.full((CAPTION, view.shape[1], 3), PAPER, np.uint8)
    _write(line, caption)
    return np.vstack([view, line])


def _write(line: np.ndarray, text: str) -> None:
    """Text on a line of the sheet, from its left end."""
    place = (2, line.shape[0] - 6)
    cv2.putText(line, text, place, cv2.FONT_HERSHEY_SIMPLEX, LETTER, INK, 1, cv2.LINE_AA)


def sheet(tiles: Sequence[np.ndarray], *, title: str = "", columns: int = COLUMNS) -> np.ndarray:
    """Tiles of one size (h, w, 3) in rows, below a line of text each for the title and the legend."""
    height, width = tiles[0].shape[:2] if tiles else (TILE + CAPTION, TILE)
    rows, head = -(-len(tiles) // columns), 2 * CAPTION + GAP
    picture = np.full((head + rows * (height + GAP), GAP + columns * (width + GAP), 3), PAPER, np.uint8)
    for number, text in enumerate((title, LEGEND)):
        _write(picture[number * CAPTION : (number + 1) * CAPTION, GAP:], text)
    for number, one in enumerate(tiles):
        row, column = divmod(number, columns)
        top, left = head + row * (height + GAP), GAP + column * (width + GAP)
        picture[top : top + height, left : left + width] = one
    return picture


def sample_sheet(
    photos: PhotoSet, predicted: np.ndarray, rows: Sequence[int] | None = None, *, title: str = ""
) -> np.ndarray:
    """A sheet of photos, all or those at these rows, with joints (N, J, 2) in photo pixels as predicted for all.

    Without any finite prediction, as for a photo that cannot be read, a tile stays grey.
    """
    hits, _ = _scored(photos, predicted)
    tiles = []
    for row in range(len(photos)) if rows is None else rows:
        labelled, name = photos.labelled[row], photos.files[row].name[-NAME_LETTERS:]
        try:
            if not np.isfinite(predicted[row]).any():
                raise DataError(f"{photos.files[row]}: nothing was looked for")
            image, region = photos.read(row), photos.region(row)
        except DataError:
            tiles.append(_captioned(np.full((TILE, TILE, 3), EMPTY, np.uint8), name))
            continue
        caption = f"{name}  {hits[row].sum()}/{labelled.sum()}"
        places = {"predicted": predicted[row], "true": photos.xy[row], "labelled": labelled}
        tiles.append(tile(image, region, **places, skeleton=photos.skeleton, caption=caption))
    return sheet(tiles, title=title)


def worst_sheet(photos: PhotoSet, predicted: np.ndarray, count: int = TILES) -> np.ndarray:
    """The sheet of the `count` photos on which joints (N, J, 2) in photo pixels were predicted worst."""
    rows = worst_rows(photos, predicted, count)
    title = f"The worst {len(rows)} of {len(photos)} photos of {photos.name}"
    return sample_sheet(photos, predicted, rows, title=title)


def worst_rows(photos: PhotoSet, predicted: np.ndarray, count: int) -> list[int]:
    """Rows of the `count` photos with the lowest share of correct joints (PCK@0.2), the worst first.

    Of photos with the same share, those with the larger mean error, in torsos, come first. Photos without a torso or
    without a prediction (N, J, 2) are never among them.
    """
    hits, error = _scored(photos, predicted)
    known = np.isfinite(error)
    number = np.maximum(known.sum(1), 1)
    share, mean = hits.sum(1) / number, np.where(known, error, 0).sum(1) / number
    worst = np.lexsort((-mean, share))
    return [int(row) for row in worst if known[row].any()][:count]


def _scored(photos: PhotoSet, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which labelled joints (N, J) are correct by PCK@0.2, and their errors (N, J) in torsos; NaN where unknown."""
    torso = torso_length(photos.xy, photos.labelled, photos.skeleton)
    hits = correct(predicted, photos.xy, torso, threshold=PCK_AT) & photos.labelled
    distance = np.linalg.norm(predicted - photos.xy, axis=-1)
    return hits, np.where(photos.labelled, distance, np.nan) / np.maximum(torso, 1e-9)[:, None]


def check_sheet(path: Path) -> None:
    """Raise OutputError unless `write_sheet` can write there; to be asked before the slow part."""
    if path.suffix.lower() != ".png":
        raise OutputError(f"{path}: contact sheets are PNG pictures; give a name that ends in .png")
    check_writable(path)


def write_sheet(path: Path, picture: np.ndarray) -> None:
    """Write a sheet as a PNG file, whole or not at all; OutputError if it cannot be written."""
    _, data = cv2.imencode(".png", picture)
    write_whole(path, data.tobytes())

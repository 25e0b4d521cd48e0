"""Reading and writing of still images: orientation, depth, size limit, errors, and that files appear whole."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline import image as module
from pipeline.errors import InputError, OutputError
from pipeline.image import read_image, write_image
from tests.pipeline.clips import picture, quarters

UPRIGHT = ["red", "green", "blue", "white"]
# What a viewer shows of the upright picture, for each EXIF orientation: the definition of the eight values.
SHOWN = {
    1: ["red", "green", "blue", "white"],
    2: ["green", "red", "white", "blue"],
    3: ["white", "blue", "green", "red"],
    4: ["blue", "white", "red", "green"],
    5: ["red", "blue", "green", "white"],
    6: ["blue", "red", "white", "green"],
    7: ["white", "green", "blue", "red"],
    8: ["green", "white", "red", "blue"],
}


def encoded(suffix: str, image: np.ndarray) -> bytes:
    return cv2.imencode(suffix, image)[1].tobytes()


def exif(orientation: int) -> bytes:
    return b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x112, 3, 1, orientation, 0, 0)


def jpeg_turned(orientation: int) -> bytes:
    data, tag = encoded(".jpg", picture((64, 48))), b"Exif\0\0" + exif(orientation)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(tag) + 2) + tag + data[2:]


def png_of_size(width: int, height: int) -> bytes:
    """A small PNG whose header claims another size, with a checksum that fits."""
    data = encoded(".png", picture((8, 8)))
    header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".PNG", ".JPG"])
def test_what_is_written_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"picture{suffix}"
    write_image(path, picture((64, 48)))
    image = read_image(path)
    assert image.shape == (48, 64, 3)
    assert image.dtype == np.uint8
    assert quarters(image) == UPRIGHT
    if suffix.lower() == ".png":
        np.testing.assert_array_equal(image, picture((64, 48)))


@pytest.mark.parametrize("orientation", SHOWN)
def test_exif_orientation_is_honoured(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "phone.jpg"
    path.write_bytes(jpeg_turned(orientation))
    image = read_image(path)
    assert quarters(image) == SHOWN[orientation]
    assert image.shape == ((64, 48, 3) if orientation >= 5 else (48, 64, 3))


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (np.full((4, 5), 77, np.uint8), 77),
        (np.full((4, 5), 77 * 256, np.uint16), 77),
        (np.full((4, 5, 3), 77 * 256, np.uint16), 77),
        (np.full((4, 5, 4), 77, np.uint8), 77),
        (np.full((4, 5, 4), 77 * 256, np.uint16), 77),
    ],
    ids=["grey", "grey16", "colour16", "alpha", "alpha16"],
)
def test_every_depth_becomes_8_bit_bgr(tmp_path: Path, stored: np.ndarray, expected: int) -> None:
    path = tmp_path / "odd.png"
    path.write_bytes(encoded(".png", stored))
    np.testing.assert_array_equal(read_image(path), np.full((4, 5, 3), expected, np.uint8))


def test_the_kind_is_known_by_content(tmp_path: Path) -> None:
    path = tmp_path / "really_a_png.jpg"
    path.write_bytes(encoded(".png", picture((64, 48))))
    assert quarters(read_image(path)) == UPRIGHT


def test_fill_bytes_between_segments_are_skipped(tmp_path: Path) -> None:
    data, path = encoded(".jpg", picture((64, 48))), tmp_path / "filled.jpg"
    at = data.index(b"\xff\xc0")
    path.write_bytes(data[:at] + b"\xff\xff" + data[at:])
    assert quarters(read_image(path)) == UPRIGHT


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_a_huge_header_is_refused_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    path = tmp_path / f"bomb.{kind}"
    if kind == "png":
        path.write_bytes(png_of_size(60_000, 50_000))
    else:
        data = encoded(".jpg", picture((8, 8)))
        at = data.index(b"\xff\xc0")
        path.write_bytes(data[: at + 5] + struct.pack(">HH", 50_000, 60_000) + data[at + 9 :])
    monkeypatch.setattr(module.cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(InputError) as caught:
        read_image(path)
    limit = "60000 x 50000 pixels exceed the limit of 100 megapixels; make the picture smaller, "
    limit += "or set POSECLI_MAX_MEGAPIXELS"
    assert str(caught.value) == f"{path}: {limit}"


def unreadable(folder: Path) -> dict[str, tuple[Path, str]]:
    """Files that cannot be read, by name, with what is said of them."""
    names = ["missing", "text", "empty", "half.png", "half.jpg", "header.png", "header.jpg", "broken.jpg"]
    paths = {name: folder / name for name in names}
    png, jpg = encoded(".png", picture((64, 48))), encoded(".jpg", picture((64, 48)))
    paths["text"].write_text("no image\n" * 10)
    paths["empty"].write_bytes(b"")
    paths["half.png"].write_bytes(png[: len(png) // 2])
    paths["half.jpg"].write_bytes(jpg[: len(jpg) - len(jpg) // 4])
    paths["header.png"].write_bytes(png[:8])
    paths["header.jpg"].write_bytes(jpg[:4])
    paths["broken.jpg"].write_bytes(jpg[:30] + bytes(len(jpg) - 30))
    said = {
        "missing": "there is no such file; check its name and folder",
        "text": "is neither JPEG nor PNG; convert it to one of them",
        "empty": "is neither JPEG nor PNG; convert it to one of them",
        "folder": "is a folder; give an image file",
    }
    paths["folder"] = folder
    damaged = "is damaged or was cut short; copy or download it again"
    return {name: (path, said.get(name, damaged)) for name, path in paths.items()}


@pytest.mark.parametrize(
    "name", ["missing", "text", "empty", "folder", "half.png", "half.jpg", "header.png", "header.jpg", "broken.jpg"]
)
def test_what_cannot_be_read_is_said_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    path, said = unreadable(tmp_path)[name]
    with pytest.raises(InputError) as caught:
        read_image(path)
    assert str(caught.value) == f"{path}: {said}"
    assert capfd.readouterr() == ("", "")


def test_other_endings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        write_image(tmp_path / "out.gif", picture((8, 8)))
    assert str(caught.value) == (
        f"{tmp_path / 'out.gif'}: images are written as .jpg, .jpeg, .png; choose one of these endings"
    )


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "out.png"
    with pytest.raises(OutputError) as caught:
        write_image(path, picture((8, 8)))
    assert str(caught.value) == f"{path}: there is no folder {path.parent}; create it first"


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.png"
    path.write_bytes(b"old")

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError) as caught:
        write_image(path, picture((8, 8)))
    reason = "cannot be written (No space left on device); free some space or choose another folder"
    assert str(caught.value) == f"{path}: {reason}"
    assert [p.name for p in tmp_path.iterdir()] == ["out.png"]
    assert path.read_bytes() == b"old"


def test_too_wide_for_jpeg(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "wide.jpg"
    with pytest.raises(OutputError) as caught:
        write_image(path, np.zeros((1, 70_000, 3), np.uint8))
    assert str(caught.value) == f"{path}: 70000 x 1 pixels do not fit into such a file"
    assert list(tmp_path.iterdir()) == []


def test_arrays_of_another_kind_are_a_bug() -> None:
    with pytest.raises(ValueError, match=r"expected a BGR image \(H, W, 3\) uint8, got \(4, 4\) uint8"):
        write_image("out.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match="float64"):
        write_image("out.png", np.zeros((4, 4, 3)))

"""Files made to do harm, given to every command and reader that takes such: nothing is run, the end comes soon."""

import io
import json
import os
import pickle
import socket
import struct
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import cv2
import h5py
import numpy as np
import pytest
import torch
from scipy.io import savemat

from hourglass.data import read_photos
from hourglass.finder import Finder
from hourglass.importing import import_weights
from hourglass.model import HourglassConfig
from hourglass.photofile import photo_size, read_photo
from hourglass.predict import Detector
from lifter.asf_amc import read_amc, read_asf
from lifter.bvh import read_bvh
from lifter.cdf import read_cdf
from lifter.data import read_motions
from lifter.h36m import read_cameras, read_dictionary
from lifter.predict import Lifter
from lifter.train import load_resume
from pipeline import posestore
from pipeline.calibration import read_calibration
from pipeline.checkpoint import load_checkpoint, save_checkpoint
from pipeline.errors import CheckpointError, DataError, InputError, PoseError
from pipeline.image import read_image
from pipeline.points import read_points
from pipeline.video import probe
from tests.conftest import Outcome
from tests.fuzz.kinds import KINDS, _lifter_training
from tests.fuzz.pool import _reset_peak, _status_mb
from tests.hourglass.photos import struct_array, write_mpii_h5, write_photos
from tests.lifter.h36m_files import write_cdf
from tests.pipeline.clips import make_clip

CPU = torch.device("cpu")
Result = TypeVar("Result")
LIMIT = "POSECLI_MAX_MEGABYTES"
MANY = {"stacks": 256, "widths": [8] * 10}  # takes no memory, but minutes to build


# Pickles that would run something


class _Touch:
    """When unpickled, makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.makedirs, (str(self.path), 0o777, True)


def pickles(made: Path) -> dict[str, bytes]:
    """Pickles that would make `made`, bare and in the containers of NumPy and PyTorch."""
    bare, array, new, old = (io.BytesIO() for _ in range(4))
    pickle.dump(_Touch(made), bare)
    np.savez(array, positions_3d=np.array({"S1": _Touch(made)}, object), a=np.array([_Touch(made)], object))
    torch.save({"state_dict": _Touch(made), "run": _Touch(made)}, new)
    torch.save({"state_dict": _Touch(made)}, old, _use_new_zipfile_serialization=False)
    single = io.BytesIO()
    np.save(single, np.array([_Touch(made)], object))
    contents = {"bare": bare, "array": array, "new": new, "old": old, "single": single}
    return {name: content.getvalue() for name, content in contents.items()}


def lsp_with(path: Path) -> str:
    (path.parent / "joints.mat").write_bytes(path.read_bytes())
    return f"lsp:{path.parent}"


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "weights of a detector": (".safetensors", lambda path: Detector.load(path, CPU)),
    "weights of a lifter": (".safetensors", lambda path: Lifter.load(path, CPU)),
    "checkpoints of others": (".pth.tar", lambda path: import_weights(path, path.with_name("o"), layout="princeton")),
    "motion capture": (".npz", read_motions),
    "motion capture as an array": (".npy", read_motions),
    "motion capture in HDF5": (".h5", read_motions),
    "Human3.6M's archives": (".npz", lambda path: read_dictionary(path, "positions_3d")),
    "stored poses": (".h5", posestore.read),
    "labels in HDF5": (".h5", lambda path: read_photos(f"mpii:{path}")),
    "labels of MATLAB": (".mat", lambda path: read_photos(f"mpii:{path}")),
    "joints of MATLAB": (".mat", lambda path: read_photos(lsp_with(path))),
    "labels in JSON": (".json", lambda path: read_photos(f"coco:{path}")),
    "points": (".json", lambda path: read_points(path, layout="coco", size=None, fps=None)),
    "photos": (".jpg", read_photo),
    "pictures": (".png", read_image),
    "videos": (".mp4", probe),
}


@pytest.mark.parametrize("container", pickles(Path()))
@pytest.mark.parametrize("name", READERS)
def test_no_pickle_runs(tmp_path, name, container):
    made, (ending, read) = tmp_path / "made", READERS[name]
    path = tmp_path / f"bomb{ending}"
    path.write_bytes(pickles(made)[container])
    with pytest.raises(PoseError) as caught:
        read(path)
    assert str(tmp_path) in str(caught.value)
    assert not made.exists()


def test_the_bombs_are_live(tmp_path):
    """What would happen without care."""
    for number, read in enumerate((pickle.loads, lambda data: torch.load(io.BytesIO(data), weights_only=False))):
        made = tmp_path / str(number)
        read(pickles(made)[("bare", "new")[number]])
        assert made.exists()


def test_resume_files_run_nothing(tmp_path):
    made = tmp_path / "made"
    training = _lifter_training(tmp_path)
    for data in pickles(made).values():
        training.config.resume_file.write_bytes(data)
        with pytest.raises(CheckpointError, match="not a readable resume file"):
            load_resume(training)
    assert not made.exists()


@pytest.mark.parametrize(
    "words",
    [
        ("import-weights", "FILE", "--from", "pytorch-pose", "--out", "out.safetensors"),
        ("image", "photo.jpg", "--hourglass", "FILE", "--out", "out.jpg"),
        ("image", "photo.jpg", "--lifter", "FILE", "--out", "out.jpg"),
        ("image", "FILE", "--out", "out.jpg"),
        ("video", "FILE", "--out", "out.mp4"),
        ("render", "FILE", "--video", "clip.mp4", "--out", "out.mp4"),
        ("lift", "FILE", "--format", "h5", "--export", "out.h5"),
        ("lift", "FILE", "--format", "coco", "--size", "640x480", "--fps", "25", "--export", "out.h5"),
        ("eval-lifter", "--data", "mocap:FILE"),
        ("eval-lifter", "--data", "h36m:FILE"),
        ("train-lifter", "--model", "baseline", "--data", "mocap:FILE", "--out", "out.safetensors"),
        ("train-hourglass", "--data", "mpii:FILE", "--out", "out.safetensors"),
        ("eval-hourglass", "--data", "coco:FILE"),
        ("prepare-mocap", "FILE", "--out", "out.h5"),
    ],
)
def test_no_command_runs_a_pickle(tmp_path, monkeypatch, posecli: Callable[..., Outcome], words):
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path, ["photo.jpg"])
    endings = {"bare": ".h5", "array": ".npz", "new": ".pt", "old": ".mat", "single": ".safetensors"}
    for name, data in pickles(tmp_path / "made").items():
        path = tmp_path / f"{name}{endings[name]}"
        path.write_bytes(data)
        before = sorted(tmp_path.iterdir())
        result = posecli(*(word.replace("FILE", str(path)) for word in words))
        assert result.code == 1, result
        assert result.err.startswith("posecli: "), result
        assert sorted(tmp_path.iterdir()) == before


# Files that claim, or unpack to, more than there is memory


def png(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [header, b"IDAT" + zlib.compress(bytes(1000)), b"IEND"]
    framed = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def jpeg(width: int, height: int) -> bytes:
    frame = b"\xff\xc0\x00\x11\x08" + struct.pack(">HH", height, width) + b"\x03\x01\x22\0\x02\x11\x01\x03\x11\x01"
    return b"\xff\xd8" + frame + b"\xff\xda\x00\x02" + bytes(100) + b"\xff\xd9"


def bitmap(width: int, height: int) -> bytes:
    return b"BM" + bytes(8) + struct.pack("<IIiiHHI", 54, 40, width, height, 1, 24, 0) + bytes(100)


def webp(width: int, height: int) -> bytes:
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + sides


def test_a_part_of_a_png_that_claims_more_than_the_file_has(tmp_path):
    """OpenCV would take two gigabytes before it finds that out."""
    path = tmp_path / "photo.png"
    sound = cv2.imencode(".png", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
    path.write_bytes(sound)
    assert read_image(path).shape == read_photo(path).shape == (48, 64, 3)
    path.write_bytes(sound[:33] + struct.pack(">I", 0x7F000000) + sound[37:])
    for read, refused in ((read_image, InputError), (read_photo, DataError)):
        with memory_up_to(20), pytest.raises(refused, match=r"photo\.png: .*damaged or .*cut short"):
            read(path)


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (png(100_000, 100_000), "100000 x 100000"),
        (jpeg(65_500, 65_500), "65500 x 65500"),
        (bitmap(100_000, -100_000), "100000 x 100000"),
        (webp(100_000, 100_000), "100000 x 100000"),
    ],
    ids=["png", "jpeg", "bmp", "webp"],
)
def test_huge_pictures(tmp_path, monkeypatch, data, size):
    path = tmp_path / "bomb"
    path.write_bytes(data)
    said = f"{size} pixels exceed the limit of 100 megapixels; make the picture smaller, or set POSECLI_MAX_MEGAPIXELS"
    with pytest.raises(DataError) as caught:
        read_photo(path)
    assert str(caught.value) == f"{path}: {said}"
    assert photo_size(path) is None
    if data[:1] in (b"\x89", b"\xff"):
        with pytest.raises(InputError) as refused:
            read_image(path)
        assert str(refused.value) == f"{path}: {said}"
    monkeypatch.setenv("POSECLI_MAX_MEGAPIXELS", "20000")
    monkeypatch.setattr("cv2.imdecode", lambda *_: None)
    with pytest.raises(DataError, match="missing or not an image"):  # now it is tried
        read_photo(path)


def test_a_jpeg_of_many_scans(tmp_path):
    """Passes over 1,500,000 blocks in few bytes each, of which ten are usual."""
    picture = np.full((6, 8, 3), 200, np.uint8)
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    scans = data.split(b"\xff\xda")
    assert 5 < len(scans) < 20
    note = b"\xff\xfe\x00\x06\xff\xd9\xff\xd9"  # a comment that looks like the end
    path = tmp_path / "a.jpg"
    path.write_bytes(data[:-2] + (note + b"\xff\xda" + scans[-1][:-2]) * 100 + b"\xff\xd9")
    for read, kind in ((read_photo, DataError), (read_image, InputError)):
        with pytest.raises(kind, match=r"a\.jpg: is a JPEG of more than 100 scans; save it again, without so many"):
            read(path)
    path.write_bytes(data + b"\xff\xda" * 1000)  # behind the end, as a telephone's film
    assert read_photo(path).shape == read_image(path).shape == picture.shape


def test_photos_of_other_kinds_are_not_tried(tmp_path, monkeypatch):
    """OpenCV reads more kinds, of which nothing is known before it has taken the memory."""
    monkeypatch.setattr("cv2.imdecode", lambda *_: pytest.fail("decoded"))
    for data in (
        b"P6 100000 100000 255\n",
        b"II*\0" + bytes(100),
        b"#?RADIANCE\n\n-Y 99999 +X 99999\n",
        b"v/1\1" + bytes(99),
    ):
        (tmp_path / "a.jpg").write_bytes(data)
        with pytest.raises(DataError, match=r"a\.jpg: missing or not an image"):
            read_photo(tmp_path / "a.jpg")


def test_a_huge_frame(tmp_path):
    clip = tmp_path / "big.y4m"
    clip.write_bytes(b"YUV4MPEG2 W12000 H12000 F25:1 C420jpeg\nFRAME\n" + bytes(1000))
    said = "frames of 12000 x 12000 pixels exceed the limit of 100 megapixels; .* or set POSECLI_MAX_MEGAPIXELS"
    with pytest.raises(InputError, match=said):
        probe(clip)


def test_pixels_that_are_four_times_as_wide_make_no_huge_frame(tmp_path, monkeypatch):

    path = make_clip(tmp_path / "in.mp4", pixel_aspect=Fraction(4, 1))
    assert probe(path).width == 256
    monkeypatch.setenv("POSECLI_MAX_MEGAPIXELS", str(64 * 48 * 3.9 / 1e6))
    assert probe(path).width == 64


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.48,\n{}\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.mp4", "ffconcat version 1.0\nfile other.ts\n"),
        ("a.m3u8", PLAYLIST.format("other.ts")),
        ("a.m3u8", PLAYLIST.format("http://127.0.0.1:{port}/other.ts")),
    ],
)
def test_a_playlist_opens_nothing(tmp_path, name, text):
    make_clip(tmp_path / "other.ts")

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        (tmp_path / name).write_text(text.replace("{port}", str(server.getsockname()[1])))
        with pytest.raises(InputError, match="is no video, or one that was cut short"):
            probe(tmp_path / name)
        with pytest.raises(TimeoutError):
            server.accept()


def zipped(path: Path, name: str, *, start: bytes, zeros: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w", force_zip64=True) as file:
        file.write(start)
        for _ in range(zeros // 2**20):
            file.write(bytes(2**20))
    return path


def npy(shape: tuple[int, ...], kind: str) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": kind, "fortran_order": False, "shape": shape})
    return header.getvalue()


def test_archives_that_unpack_to_much(tmp_path):
    """600 MB in 600 kB; read until there, they would only show afterwards."""
    path = zipped(tmp_path / "a.npz", "amc/1/1_1.npy", start=npy((2**20, 17, 3), "<f4"), zeros=600 * 2**20)
    assert path.stat().st_size < 2**20
    for read in (read_motions, lambda path: read_dictionary(path, "positions_3d")):
        with pytest.raises(DataError, match=rf"a\.npz: holds 601 MB, more than the limit of 512 MB; .*{LIMIT}"):
            read(path)


@pytest.mark.parametrize("claim", [10**9, 2**32 - 2, 50 * 2**30])
def test_archives_that_claim_much(tmp_path, claim):
    path = zipped(tmp_path / "a.npz", "a.npy", start=npy((2**33, 17, 3), "<f4") + bytes(10), zeros=0)
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")
    struct.pack_into("<I", data, at + 24, min(claim, 2**32 - 2))
    path.write_bytes(data)
    with pytest.raises(DataError, match=LIMIT):
        read_motions(path)


def test_an_array_that_claims_more_than_its_archive_holds(tmp_path):
    for shape, kind in (((2**40, 17, 3), "<f4"), ((2**62,), "<f8"), ((3, 17, 3), "<U99999999"), ((2,), "|O")):
        path = zipped(tmp_path / "a.npz", "a.npy", start=npy(shape, kind), zeros=0)
        with pytest.raises(DataError, match=r"a\.npz: not a readable \.npz of motions"):
            read_motions(path)


def test_hdf5_that_claims_terabytes(tmp_path):
    claims = {"motion": tmp_path / "a.h5", "labels": write_mpii_h5(tmp_path / "b.h5", ["a.jpg"])}
    with h5py.File(claims["motion"], "w") as file:
        file.attrs.update({"format": "posecli poses", "version": 1, "skeleton": "h36m17", "unit": "mm", "up": "y"})
        group = file.create_group("sequences/0")
        group.attrs.update({"subject": "1", "action": "a", "trial": "1", "source": "s", "fps": 30.0})
        group.create_dataset("xyz", (2**40, 17, 3), "f4", chunks=(2**12, 17, 3), compression="gzip", fillvalue=1.0)
    with h5py.File(claims["labels"], "r+") as file:
        del file["part"]
        file.create_dataset("part", (2**40, 16, 2), "f4", chunks=(2**12, 16, 2), compression="gzip")
    for path, read in ((claims["motion"], read_motions), (claims["labels"], lambda path: read_photos(f"mpii:{path}"))):
        with pytest.raises(
            DataError, match=rf"{path.name}: holds [0-9,]+ MB, more than the limit of 512 MB; .*{LIMIT}"
        ):
            read(path)


def test_hdf5_of_many_names_for_one_data_set(tmp_path, monkeypatch):
    path = next(iter(KINDS["mocap"].prepare(tmp_path)[::-1]))
    path = tmp_path / "poses.h5"
    with h5py.File(path, "r+") as file:
        for number in range(100):
            file[f"sequences/x{number}"] = file["sequences/000000"]
    monkeypatch.setenv(LIMIT, "0.3")
    with pytest.raises(DataError, match=r"poses\.h5: holds 1 MB, more than the limit of 0\.3 MB"):
        read_motions(path)


def test_texts_that_are_all_the_same_long_one(tmp_path, monkeypatch):
    path = write_mpii_h5(tmp_path / "b.h5", ["a.jpg"] * 200)
    with h5py.File(path, "r+") as file:
        del file["imgname"]
        file["imgname"] = ["x" * 50_000] * 200
    monkeypatch.setenv(LIMIT, "5")
    with pytest.raises(DataError, match=r"b\.h5: holds \d MB, more than the limit of 5 MB"):
        read_photos(f"mpii:{path}")


def test_matlab_that_unpacks_to_much(tmp_path):
    packer = zlib.compressobj()
    body = b"".join(packer.compress(bytes(2**20)) for _ in range(600)) + packer.flush()
    savemat(tmp_path / "joints.mat", {"other": np.zeros(1)}, do_compression=True)
    path = tmp_path / "joints.mat"
    path.write_bytes(path.read_bytes() + struct.pack("<II", 15, len(body)) + body)
    with pytest.raises(DataError, match=rf"joints\.mat: holds 513 MB, more than the limit of 512 MB; .*{LIMIT}"):
        read_photos(f"lsp:{tmp_path}")


def test_matlab_is_checked_where_it_is_compressed_too(tmp_path):
    """A sound checksum says nothing of the types within, on which SciPy relies."""
    release = {"annolist": struct_array([{"image": {"name": "a.jpg"}}]), "img_train": np.ones((1, 1))}
    savemat(tmp_path / "a.mat", {"RELEASE": release}, do_compression=True)
    data = (tmp_path / "a.mat").read_bytes()
    plain = bytearray(zlib.decompress(data[136:]))
    for at in range(48, len(plain) - 8, 8):
        (kind,) = struct.unpack_from("<I", plain, at)
        if kind == 14:  # a matrix within
            struct.pack_into("<I", plain, at, 9)
            break
    packed = zlib.compress(bytes(plain))
    (tmp_path / "a.mat").write_bytes(data[:128] + struct.pack("<II", 15, len(packed)) + packed)
    with pytest.raises(DataError, match=r"a\.mat: not a MATLAB file with a struct 'RELEASE' \(it is damaged\)"):
        read_photos(f"mpii:{tmp_path / 'a.mat'}")


@pytest.mark.parametrize("deep", [b"[" * 10**6, b'{"a":' * 10**5, b"[" * 50_000 + b"]" * 50_000])
def test_json_nested_deeply(tmp_path, deep):
    path = tmp_path / "a.json"
    path.write_bytes(deep)
    readers = [read for ending, read in READERS.values() if ending == ".json"]
    readers += [lambda path: KINDS["notes"].read(tmp_path, path), lambda path: read_photos(f"mpii:{path}")]
    for read in readers:
        with pytest.raises(PoseError, match=r"a\.json"):
            read(path)


def test_poses_whose_provenance_is_nested_deeply(tmp_path):
    """400 levels are read, and would be too many for a writer that begins further down."""
    (path,) = KINDS["stored"].prepare(tmp_path)
    for text in ('{"a":' * 400 + "1" + "}" * 400, "[" * 60_000):
        with h5py.File(path, "r+") as file:
            file.attrs["provenance"] = np.bytes_(text.encode())
        with pytest.raises(DataError, match=r"clip\.h5: not a readable file of poses \(.*nested too deeply\)"):
            posestore.read(path)


def test_json_of_many_megabytes(tmp_path):
    path = tmp_path / "a.json"
    path.touch()
    os.truncate(path, 2**29 + 1)
    for ending, read in READERS.values():
        if ending in (".json", ".mat"):
            with pytest.raises(DataError, match=rf"more than the limit of 512 MB; .*{LIMIT}"):
                read(path)


# Files that keep the program busy, or grow in it


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02}" + b")" + b"\x85" * 10**6 + b"K\x01s.",  # a key a million deep: hashing it ends the program
        b"\x80\x02)" + b"2\x86" * 60 + b".",  # 2^60 things
    ],
)
def test_archives_of_human36m_that_unfold(tmp_path, data):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("positions_3d.npy", npy((), "|O") + data)
    with pytest.raises(DataError, match="nested too deeply"):
        read_dictionary(tmp_path / "a.npz", "positions_3d")


def test_one_array_under_many_names(tmp_path, monkeypatch):
    poses = np.zeros((1000, 32, 3), np.float32)
    np.savez(tmp_path / "a.npz", positions_3d=np.array({"S1": {str(number): poses for number in range(100)}}, object))
    monkeypatch.setenv(LIMIT, "5")
    with pytest.raises(DataError, match=r"a\.npz: holds \d+ MB, more than the limit of 5 MB"):
        read_dictionary(tmp_path / "a.npz", "positions_3d")


def test_foreign_checkpoints_that_unfold(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}" + b")" + b"\x85" * 10**6 + b"K\x01s.")
        archive.writestr("a/version", "3\n")
    with pytest.raises(CheckpointError, match=r"a\.pt: damaged \(a pickle that is nested too deeply"):
        import_weights(tmp_path / "a.pt", tmp_path / "out.safetensors", layout="princeton")


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    KINDS["weights"].prepare(folder)
    return folder


@pytest.mark.parametrize("change", [{"width": 10**6}, {"width": 10**10}, {"width": -1}, {"in_joints": 10**9}])
def test_a_lifter_whose_config_claims_much(weights, tmp_path, change):
    checkpoint = load_checkpoint(weights / "lifter.safetensors", "lifter")
    checkpoint.config.update(change)
    save_checkpoint(tmp_path / "a.safetensors", checkpoint)
    with pytest.raises(CheckpointError, match=r"a\.safetensors: (baseline expects|config does not fit)"):
        Lifter.load(tmp_path / "a.safetensors", CPU)


@pytest.mark.parametrize(
    "change",
    [{"widths": [4096] * 8}, {"stacks": 10**9}, {"blocks": 300}, {"widths": [8] * 40}, {"input_size": 2**40}, MANY],
)
def test_a_detector_whose_config_claims_much(weights, tmp_path, change):
    checkpoint = load_checkpoint(weights / "hourglass.safetensors", "hourglass")
    checkpoint.config.update({"input_size": 2048, **change})
    save_checkpoint(tmp_path / "a.safetensors", checkpoint)
    said = "(stacked-hourglass expects|does not describe an hourglass)"
    with pytest.raises(CheckpointError, match=rf"a\.safetensors: {said}"):
        _in_time(lambda: Detector.load(tmp_path / "a.safetensors", CPU))


@pytest.mark.parametrize("change", [{"widths": [4096] * 8}, {"widths": [30_000, 8]}, {"stacks": 10**9}, MANY])
def test_a_finder_whose_config_claims_much(weights, tmp_path, change):
    """The first would take tens of gigabytes, and much time to be filled with random numbers."""
    checkpoint = load_checkpoint(weights / "finder.safetensors", "finder")
    checkpoint.config.update({"input_size": 2048, **change})
    save_checkpoint(tmp_path / "a.safetensors", checkpoint)
    said = "(stacked-hourglass expects|does not describe a finder)"
    with memory_up_to(50), pytest.raises(CheckpointError, match=rf"a\.safetensors: {said}"):
        _in_time(lambda: Finder.load(tmp_path / "a.safetensors", CPU))


def test_a_calibration_of_many_megabytes(tmp_path):
    path = tmp_path / "a.toml"
    path.touch()
    os.truncate(path, 2**30)
    for one in (path, Path("/dev/zero")):  # the latter has no size that could be asked for
        with memory_up_to(20), pytest.raises(InputError, match="more than 1,048,576 bytes are too many for one"):
            read_calibration(one)


def test_published_networks_are_within_the_sizes():
    HourglassConfig(stacks=8, blocks=3)


def test_bvh_of_joints_that_need_no_numbers(tmp_path):
    joints = "".join(f"JOINT j{number} {{\nOFFSET 0 0 0\n}}\n" for number in range(3000))
    head = f"HIERARCHY\nROOT r {{\nOFFSET 0 0 0\nCHANNELS 1 Xposition\n{joints}}}\n"
    path = tmp_path / "a.bvh"
    for frames, count in ((20_000, 20_000), (10**12, 0)):
        path.write_text(
            head.replace("CHANNELS 1 Xposition", "CHANNELS 1 Xposition" if count else "CHANNELS 0")
            + f"MOTION\nFrames: {frames}\nFrame Time: 0.03\n"
            + "0 " * count
        )
        with pytest.raises(DataError, match=rf"a\.bvh: holds [0-9,]+ MB, more than the limit of 512 MB; .*{LIMIT}"):
            read_bvh(path)


def test_bvh_of_ends_within_ends(tmp_path):
    path = tmp_path / "a.bvh"
    ends = "End Site {\n" * 50_000
    path.write_text(f"HIERARCHY\nROOT r {{\n{ends}{'}' * 50_000}}}\nMOTION\nFrames: 1\nFrame Time: 0.03\n0")
    with pytest.raises(DataError, match="not a BVH file of one person, or damaged, at 'End Site'"):
        read_bvh(path)


def asf(links: list[str], bones: int) -> str:
    listed = "".join(f"begin\nname b{number}\ndirection 0 1 0\nlength 1\nend\n" for number in range(bones))
    hierarchy = "\n".join(links)
    return f":root\norder TX TY TZ RX RY RZ\n:bonedata\n{listed}:hierarchy\nbegin\n{hierarchy}\nend\n"


def test_a_long_hierarchy_the_wrong_way_round(tmp_path):
    """Twenty thousand lines, each of which waits for the next one: all are read once, not each time."""
    count = 20_000
    links = [f"b{number} b{number + 1}" for number in reversed(range(count - 1))]
    (tmp_path / "a.asf").write_text(asf([*links, "root b0"], count))
    skeleton = _in_time(lambda: read_asf(tmp_path / "a.asf"))
    assert list(skeleton.parents.items())[:2] == [("b0", "root"), ("b1", "b0")]
    assert len(skeleton.parents) == count
    (tmp_path / "a.amc").write_text("".join(f"{frame}\nroot 0 0 0 0 0 0\n" for frame in range(1, 5_000)))
    with pytest.raises(DataError, match=rf"a\.amc: holds [0-9,]+ MB, more than the limit of 512 MB; .*{LIMIT}"):
        read_amc(tmp_path / "a.amc", skeleton)


def test_frame_numbers_that_are_no_numbers(tmp_path):
    (tmp_path / "a.asf").write_text(asf(["root b0"], 1))
    skeleton = read_asf(tmp_path / "a.asf")
    for number in ("²", "1" * 5000):
        (tmp_path / "a.amc").write_text(f"{number}\nroot 0 0 0 0 0 0\n")
        with pytest.raises(DataError, match=r"which does not fit the \.asf"):
            read_amc(tmp_path / "a.amc", skeleton)


def test_cameras_of_many_beginnings(tmp_path):
    (tmp_path / "metadata.xml").write_text("<w0>[ ]" * 300_000)
    with pytest.raises(DataError, match="expected 300 numbers in <w0>"):
        _in_time(lambda: read_cameras(tmp_path, subjects=("S1",)))


def test_cdf_that_counts_without_end(tmp_path):
    pytest.importorskip("cdflib")
    folder = tmp_path / "h36m"
    folder.mkdir()
    path = KINDS["official"].prepare(folder)[0]
    data = bytearray(path.read_bytes())
    at = int.from_bytes(data[20:28], "big")  # the record that says how many variables there are, and where
    struct.pack_into(">i", data, at + 60, 2**31 - 1)
    place = int.from_bytes(data[at + 20 : at + 28], "big")
    struct.pack_into(">q", data, place + 12, place)  # the one variable is followed by itself
    data[place + 84 : place + 88] = b"Prose"[:4]
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"not a CDF file with a variable 'Pose' \(its parts point to each other\)"):
        _in_time(lambda: KINDS["official"].read(folder, path))


def test_cdf_of_many_dimensions(tmp_path):
    pytest.importorskip("cdflib")
    path = KINDS["official"].prepare(tmp_path)[0]
    data = bytearray(path.read_bytes())
    at = int.from_bytes(data[20:28], "big")
    variable = int.from_bytes(data[at + 20 : at + 28], "big")
    for place in (at + 56, variable + 340):  # of the variables of one kind, and of the one of the other
        path.write_bytes(data[:place] + struct.pack(">i", 2**31 - 1) + data[place + 4 :])
        with pytest.raises(DataError, match=r"not a CDF file with a variable 'Pose' \(its parts point to each other\)"):
            _in_time(lambda: KINDS["official"].read(tmp_path, path))


@pytest.mark.parametrize("whole", [False, True])
def test_cdf_that_unpacks_to_much(tmp_path, monkeypatch, whole):
    """A packed block, or a file that is packed as a whole, of 60 MB in 60 kB."""
    path = write_cdf(tmp_path / "a.cdf", np.zeros((100, 96)), whole=whole)
    data = path.read_bytes()
    start = data.index(b"\x1f\x8b\x08")  # where gzip's own begins
    bomb = gzipped_zeros(60)
    if whole:
        head = data[:8] + struct.pack(">qiqq", 32 + len(bomb), 10, 40 + len(bomb), 0) + bytes(4)
        path.write_bytes(head + bomb + data[-28:])
    else:  # at the end, and in its old place a reference to there
        block = struct.pack(">qiiq", 24 + len(bomb), 13, 0, len(bomb)) + bomb
        where = struct.pack(">q", start - 24)
        assert data.count(where) == 1
        path.write_bytes(data.replace(where, struct.pack(">q", len(data))) + block)
    assert path.stat().st_size < 100_000
    monkeypatch.setenv(LIMIT, "40")
    with memory_up_to(20), pytest.raises(DataError, match=rf"a\.cdf: holds 41 MB, more than the limit of 40 .*{LIMIT}"):
        read_cdf(path, "Pose")


def gzipped_zeros(megabytes: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    return b"".join(packer.compress(bytes(2**20)) for _ in range(megabytes)) + packer.flush()


@pytest.mark.parametrize("noise", [False, True], ids=["packed", "plain"])  # noise cannot be packed
def test_cdf_of_many_entries_for_one_block(tmp_path, monkeypatch, noise):
    """A block of 0.7 MB that seven entries of the table of blocks name; two records of such take 2.9 MB here."""
    numbers = np.random.default_rng(0).integers(0, 2**31 - 2**24, (2000, 96), np.uint32).view(np.float32)
    path = write_cdf(tmp_path / "a.cdf", numbers if noise else np.zeros((2000, 96)))
    monkeypatch.setenv(LIMIT, "4")
    assert read_cdf(path, "Pose").shape == (1, 2000, 96)
    data, entries = bytearray(path.read_bytes()), 7
    table = data.index(struct.pack(">qi", 28 + 16 * entries, 6))
    lasts, places = table + 28 + 4 * entries, table + 28 + 8 * entries
    struct.pack_into(">i", data, table + 24, entries)  # so many are used
    struct.pack_into(f">{entries}i", data, lasts, *[0] * (entries - 1), 1)
    data[places : places + 8 * entries] = data[places : places + 8] * entries
    about = int.from_bytes(data[20:28], "big")
    variable = int.from_bytes(data[about + 20 : about + 28], "big")
    struct.pack_into(">i", data, variable + 24, 1)  # the last record
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"a\.cdf: holds 5 MB, more than the limit of 4 MB; .*{LIMIT}"):
        read_cdf(path, "Pose")


def test_cdf_whose_sizes_cancel_out(tmp_path):
    """A dimension that does not vary counts for nothing, whatever its size."""
    path = write_cdf(tmp_path / "a.cdf", np.zeros((100, 96)))
    data = path.read_bytes()
    sizes = struct.pack(">iiiii", 2, 100, 96, -1, -1)
    assert data.count(sizes) == 1
    path.write_bytes(data.replace(sizes, struct.pack(">iiiii", 2, 2**30, 0, -1, 0)))
    with pytest.raises(DataError, match=rf"a\.cdf: holds 8,192 MB, more than the limit of 512 MB; .*{LIMIT}"):
        read_cdf(path, "Pose")
    path.write_bytes(data.replace(sizes, struct.pack(">iiiii", 2, 2**30, -5, -1, -1)))
    with pytest.raises(DataError, match="a size below nothing"):
        read_cdf(path, "Pose")


def test_trials_of_many_digits(tmp_path):
    path = KINDS["mocap"].prepare(tmp_path)[0]
    xyz = np.load(tmp_path / "plain.npz")["amc/05/05_01"]
    np.savez(path, **{f"amc/05/05_{'7' * 5000}": xyz, "salsa/salsa_²": xyz})
    assert [motion.trial for motion in read_motions(path)] == [f"5_{'7' * 5000}", "salsa_²"]


@contextmanager
def memory_up_to(megabytes: float) -> Iterator[None]:
    """Fails unless the block takes less than so much more memory than there was."""
    _reset_peak()
    before = _status_mb("VmRSS")
    yield
    assert _status_mb("VmHWM") - before < megabytes


def _in_time(call: Callable[[], Result], seconds: float = 20) -> Result:
    """What a call gives; it fails the test when it takes too long."""
    found: list[Result] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(call())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    assert found, f"still busy after {seconds} s"
    return found[0]


@pytest.mark.parametrize("text", ["[" * 50_000, '{"a":' * 400 + "1" + "}" * 400])  # the latter can be read
def test_weights_whose_header_is_nested_deeply(tmp_path, text):
    header = json.dumps({"__metadata__": {"posecli": text}}).encode()
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(CheckpointError, match=r"a\.safetensors: damaged header; fetch it again"):
        load_checkpoint(tmp_path / "a.safetensors", "lifter")

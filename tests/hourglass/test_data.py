"""The readers take the published layouts for what they are, and say what is wrong with any other."""

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from hourglass.data import READERS, fingerprint, hold_back, read_lsp, read_lspet, read_photos
from pipeline.errors import DataError
from pipeline.skeleton import LSP14
from tests.hourglass.photos import people, simple_set, write_lsp, write_lspet
from tests.pictures import blob, centroid

EVERY = np.ones((3, 14), bool)


def test_lsp(tmp_path):
    xy = people(3)
    hidden = np.zeros((3, 14), bool)
    hidden[1, 5] = hidden[2, 0] = True
    photos = read_lsp(write_lsp(tmp_path / "lsp", xy, hidden))
    assert len(photos) == 3
    assert (photos.name, photos.skeleton) == ("lsp", LSP14)
    assert [path.name for path in photos.files] == ["im0001.jpg", "im0002.jpg", "im0003.jpg"]
    np.testing.assert_allclose(photos.xy, xy, atol=1e-5)
    assert photos.xy.dtype == np.float32
    assert photos.labelled.all()  # hidden joints are labelled all the same
    np.testing.assert_array_equal(photos.visible, ~hidden)


def test_lspet(tmp_path):
    xy = people(3)
    labelled = EVERY.copy()
    labelled[0, 13] = labelled[2, 3] = False
    photos = read_lspet(write_lspet(tmp_path / "lspet", xy, labelled))
    assert (photos.name, len(photos)) == ("lspet", 3)
    np.testing.assert_array_equal(photos.labelled, labelled)
    np.testing.assert_array_equal(photos.visible, labelled)
    np.testing.assert_allclose(photos.xy[labelled], xy[labelled], atol=1e-5)


@pytest.mark.parametrize("kind", ["lsp", "lspet"])
def test_labels_point_at_the_pixels(tmp_path, kind):
    # The files count pixels from 1 as MATLAB does; what is drawn around (x, y) must be found at the label read.
    write = {"lsp": write_lsp, "lspet": write_lspet}[kind]
    folder = write(tmp_path / kind, people(1), np.full((1, 14), kind == "lspet"))
    photos = read_photos(f"{kind}:{folder}")
    for joint in (0, 6, 13):
        x, y = people(1)[0, joint]
        cv2.imwrite(str(photos.files[0]), blob(64, 64, x=x, y=y, sigma=3))
        place = centroid(photos.read(0), black=10)  # JPEG leaves some dirt in the black
        assert np.abs(place - photos.xy[0, joint]).max() < 0.2


def test_every_kind_has_its_reader(tmp_path):
    assert set(READERS) == {"lsp", "lspet"}
    assert len(read_photos(f"lspet:{simple_set(tmp_path / 'a set: with colons', 2)}")) == 2


@pytest.mark.parametrize("spec", ["mpii:somewhere", "somewhere", "", "lsp"])
def test_an_unknown_kind(spec):
    with pytest.raises(DataError, match=f"{spec}: expected KIND:PATH with KIND one of lsp, lspet"):
        read_photos(spec)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        read_photos(f"lsp:{tmp_path / 'nowhere'}")


def test_a_folder_without_labels(tmp_path):
    with pytest.raises(DataError, match=r"expected joints\.mat and images/ .* joints\.mat is missing"):
        read_photos(f"lsp:{tmp_path}")


def damaged_contents() -> dict[str, bytes]:
    """Files that scipy refuses, each by an exception of another kind."""
    return {
        "empty": b"",
        "text": b"not a MATLAB file at all" * 20,
        "hdf5": b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM",
    }


@pytest.mark.parametrize("content", damaged_contents().values(), ids=damaged_contents().keys())
def test_labels_that_are_no_matlab_file(tmp_path, content):
    (tmp_path / "joints.mat").write_bytes(content)
    with pytest.raises(DataError, match=r"joints\.mat: not a MATLAB file with an array 'joints'"):
        read_photos(f"lsp:{tmp_path}")


@pytest.mark.parametrize("place", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("cut", [True, False])
def test_damaged_labels(tmp_path, place, cut):
    path = tmp_path / "joints.mat"
    savemat(path, {"joints": np.random.default_rng(0).uniform(size=(3, 14, 40))}, do_compression=True)
    content = bytearray(path.read_bytes())
    at = int(place * len(content))
    content[at] ^= 0xFF
    path.write_bytes(content[:at] if cut else content)
    with pytest.raises(DataError, match=r"joints\.mat"):
        read_photos(f"lsp:{tmp_path}")


@pytest.mark.parametrize("content", [{"poses": np.zeros((3, 14, 2))}, {"joints": "text"}, {"joints": {"a": 1}}])
def test_labels_without_an_array_of_joints(tmp_path, content):
    savemat(tmp_path / "joints.mat", content)
    with pytest.raises(DataError, match=r"joints\.mat: not a MATLAB file with an array 'joints'"):
        read_photos(f"lsp:{tmp_path}")


@pytest.mark.parametrize(
    ("kind", "shape"), [("lsp", (14, 3, 5)), ("lspet", (3, 14, 5)), ("lsp", (3, 16, 5)), ("lspet", (14, 3))]
)
def test_the_other_sets_shape(tmp_path, kind, shape):
    savemat(tmp_path / "joints.mat", {"joints": np.zeros(shape)})
    expected = {"lsp": r"\(3, 14, N\) for LSP", "lspet": r"\(14, 3, N\) for LSP-extended"}[kind]
    with pytest.raises(DataError, match=rf"joints\.mat: expected shape {expected}, got \({shape[0]}, {shape[1]}"):
        read_photos(f"{kind}:{tmp_path}")


def test_as_many_photos_as_poses(tmp_path):
    folder = simple_set(tmp_path / "set", 3)
    (folder / "images" / "im00002.jpg").unlink()
    with pytest.raises(DataError, match=r"joints\.mat holds 3 poses, images/ holds 2 photos im\*\.jpg"):
        read_photos(f"lspet:{folder}")


def test_an_unreadable_photo(tmp_path):
    photos = read_photos(f"lspet:{simple_set(tmp_path / 'set', 2)}")
    photos.files[1].write_bytes(b"not a picture")
    assert photos.read(0).shape == (64, 64, 3)
    with pytest.raises(DataError, match=r"im00002\.jpg: missing or not an image; unpack the data set again"):
        photos.read(1)
    photos.files[0].unlink()
    with pytest.raises(DataError, match=r"im00001\.jpg: missing or not an image"):
        photos.read(0)


def test_select_keeps_rows_together(tmp_path):
    photos = read_photos(f"lspet:{simple_set(tmp_path / 'set', 4)}")
    chosen = photos.select(np.array([3, 1]))
    assert [path.name for path in chosen.files] == ["im00004.jpg", "im00002.jpg"]
    np.testing.assert_array_equal(chosen.xy, photos.xy[[3, 1]])


def test_hold_back_splits_the_set_the_same_way_every_time(tmp_path):
    photos = read_photos(f"lspet:{simple_set(tmp_path / 'set', 12)}")
    rest, held = hold_back(photos, 4, seed=1)
    names = [[path.name for path in part.files] for part in (rest, held)]
    assert [len(part) for part in names] == [8, 4]
    assert set(names[0]) | set(names[1]) == {path.name for path in photos.files}
    assert not set(names[0]) & set(names[1])
    assert names == [sorted(part) for part in names]  # in their original order
    assert names == [[path.name for path in part.files] for part in hold_back(photos, 4, seed=1)]
    others = {tuple(path.name for path in hold_back(photos, 4, seed=seed)[1].files) for seed in range(10)}
    assert len(others) > 5


def test_hold_back_nothing(tmp_path):
    photos = read_photos(f"lspet:{simple_set(tmp_path / 'set', 3)}")
    rest, held = hold_back(photos, 0, seed=1)
    assert (len(rest), len(held)) == (3, 0)


@pytest.mark.parametrize("count", [3, 4, -1])
def test_hold_back_leaves_something(tmp_path, count):
    photos = read_photos(f"lspet:{simple_set(tmp_path / 'set', 3)}")
    with pytest.raises(DataError, match=f"lspet: cannot hold back {count} of 3 photos"):
        hold_back(photos, count, seed=1)


def test_fingerprint_sees_names_places_and_labels(tmp_path):
    xy, labelled = people(3), EVERY.copy()
    base = fingerprint(read_lspet(write_lspet(tmp_path / "a", xy, labelled)))
    assert base == fingerprint(read_lspet(write_lspet(tmp_path / "elsewhere", xy, labelled)))
    moved = xy.copy()
    moved[2, 13, 0] += 1
    labelled[1, 4] = False
    others = [
        fingerprint(read_lspet(write_lspet(tmp_path / "b", moved, EVERY))),
        fingerprint(read_lspet(write_lspet(tmp_path / "c", xy, labelled))),
        fingerprint(read_lsp(write_lsp(tmp_path / "d", xy, ~EVERY))),  # the same labels, other names
        fingerprint(read_lspet(tmp_path / "a").select(np.array([0, 1]))),
    ]
    assert len({base, *others}) == 5


# The published sets themselves.
@pytest.mark.parametrize(("spec", "count"), [("lsp:lsp_train", 1000), ("lspet:lspet", 10000)])
def test_real_labels_lie_on_the_photos(data_folder, spec, count):
    kind, _, name = spec.partition(":")
    photos = read_photos(f"{kind}:{data_folder / name}")
    assert len(photos) == count
    within = 0.0
    for row in range(0, count, count // 20):
        height, width = photos.read(row).shape[:2]
        points = photos.xy[row][photos.labelled[row]]
        assert len(points) >= 4
        within += ((points > -2) & (points < (width + 1, height + 1))).all(1).mean() / 20
        assert (np.ptp(points, axis=0) < 1.05 * np.array([width, height])).all()
    assert within > 0.97
    ankles, head = photos.xy[:, [0, 5], 1].mean(1), photos.xy[:, 13, 1]
    known = photos.labelled[:, [0, 5, 13]].all(1)
    assert (ankles > head)[known].mean() > 0.65  # gymnasts or not, most are the right way up: rows are not mixed up


def test_real_lsp_marks_hidden_joints_by_1(data_folder):
    # Wrists are hidden more often than shoulders; and most joints of a photo can be seen.
    photos = read_photos(f"lsp:{data_folder / 'lsp_train'}")
    assert 0.6 < photos.visible.mean() < 0.95

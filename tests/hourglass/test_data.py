"""The readers take the published layouts for what they are, and say what is wrong with any other."""

from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from hourglass.data import READERS, fingerprint, hold_back, read_photos, split_spec
from hourglass.photos import PhotoSet
from hourglass.readers import read_lsp, read_lspet
from pipeline.errors import DataError
from pipeline.skeleton import COCO17, H36M17, LSP14, MPII16, SKELETONS, convert
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
    assert set(READERS) == {"lsp", "lspet", "mpii", "mpii-train", "mpii-valid", "coco"}
    assert len(read_photos(f"lspet:{simple_set(tmp_path / 'a set: with colons', 2)}")) == 2


@pytest.mark.parametrize("spec", ["flic:somewhere", "somewhere", "", "lsp"])
def test_an_unknown_kind(spec):
    with pytest.raises(DataError, match=f"{spec}: expected KIND:PATH with KIND one of lsp, lspet, mpii, .*, coco$"):
        read_photos(spec)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder or file"):
        read_photos(f"lsp:{tmp_path / 'nowhere'}")


def test_lsp_is_a_folder(tmp_path):
    (tmp_path / "joints.mat").write_bytes(b"")
    with pytest.raises(DataError, match=r"joints\.mat: is a file; give the folder that holds joints\.mat and images/"):
        read_photos(f"lsp:{tmp_path / 'joints.mat'}")


# How often a set is drawn


@pytest.mark.parametrize(
    ("rest", "path", "weight"),
    [
        ("a/b", "a/b", 1.0),
        ("a/b@3", "a/b", 3.0),
        ("a/b@0.25", "a/b", 0.25),
        ("a@b", "a@b", 1.0),
        ("me@home/set", "me@home/set", 1.0),
        ("me@home/set@2e1", "me@home/set", 20.0),
        ("a@2/b", "a@2/b", 1.0),
        ("a@2x", "a@2x", 1.0),
        ("a@", "a@", 1.0),
        ("a@2@1", "a@2", 1.0),
        ("@3", "@3", 1.0),
    ],
)
def test_weights(rest, path, weight):
    assert split_spec(f"lsp:{rest}") == ("lsp", Path(path), weight)


@pytest.mark.parametrize("weight", ["0", "-1", "nan", "inf", "-inf", "0.0"])
def test_weights_that_are_none(weight):
    expected = f"lsp:a@{weight}: the weight behind the @ must be a number above 0, for instance lsp:a@2$"
    with pytest.raises(DataError, match=expected):
        split_spec(f"lsp:a@{weight}")


@given(
    kind=st.sampled_from(sorted(READERS)),
    path=st.text("ab @:/.12", min_size=1).filter(lambda text: text.strip()),
    weight=st.floats(1e-300, 1e300),
)
@settings(max_examples=200, deadline=None)
def test_a_written_weight_is_read_again(kind, path, weight):
    assert split_spec(f"{kind}:{path}@{weight!r}") == (kind, Path(path), weight)


def test_the_weight_of_a_set(tmp_path):
    folder = simple_set(tmp_path / "me@home", 2)
    assert read_photos(f"lspet:{folder}").weight == 1
    photos = read_photos(f"lspet:{folder}@2.5")
    assert photos.weight == 2.5
    assert photos.select(np.array([1])).weight == 2.5
    assert photos.to_skeleton(MPII16).weight == 2.5


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


def test_select_nothing_and_from_nothing(tmp_path):
    photos = read_photos(f"lspet:{simple_set(tmp_path / 'set', 2)}")
    nothing = photos.select(np.array([], int))
    assert (len(nothing), nothing.files, nothing.xy.shape, nothing.regions.shape) == (0, [], (0, 14, 2), (0, 3))
    assert len(nothing.select(np.array([], int))) == len(nothing.select(np.zeros(0, bool))) == 0
    assert nothing.to_skeleton(MPII16).xy.shape == (0, 16, 2)
    assert [len(part) for part in hold_back(nothing, 0, seed=1)] == [0, 0]


def test_select_by_a_mask(tmp_path):
    photos = read_photos(f"lspet:{simple_set(tmp_path / 'set', 3)}")
    assert same(photos.select(np.array([True, False, True])), photos.select(np.array([0, 2])))


# Sets with other joints


def same(one: PhotoSet, other: PhotoSet) -> bool:
    """Whether everything in two sets is equal, NaN being equal to NaN."""
    pairs = [(getattr(one, field.name), getattr(other, field.name)) for field in fields(PhotoSet)]
    return all(
        np.array_equal(a, b, equal_nan=a.dtype.kind == "f") if isinstance(a, np.ndarray) else a == b for a, b in pairs
    )


def random_set(skeleton, count, seed):
    rng = np.random.default_rng(seed)
    shape = (count, len(skeleton))
    labelled = rng.random(shape) < 0.7
    xy = np.where(labelled[..., None], rng.uniform(-5, 70, (*shape, 2)), np.nan).astype(np.float32)
    files = [Path(f"{n // 2}.jpg") for n in range(count)]
    visible = labelled & (rng.random(shape) < 0.5)
    return PhotoSet("made-up", skeleton, files, xy, labelled, visible, rng.random((count, 3)), rng.random(count))


def test_lsp_with_the_joints_of_mpii():
    photos = random_set(LSP14, 40, 0)
    mpii = photos.to_skeleton(MPII16)
    assert (mpii.skeleton, mpii.xy.shape, mpii.xy.dtype) == (MPII16, (40, 16, 2), np.float32)
    for joint in set(LSP14.joints) & set(MPII16.joints):
        here, there = MPII16.index(joint), LSP14.index(joint)
        known = photos.labelled[:, there]
        np.testing.assert_array_equal(mpii.labelled[:, here], known)
        np.testing.assert_array_equal(mpii.visible[:, here], photos.visible[:, there])
        np.testing.assert_array_equal(mpii.xy[known, here], photos.xy[known, there])
    # LSP's neck is MPII's thorax, nothing in LSP is MPII's upper neck, and the pelvis is between the hips.
    np.testing.assert_array_equal(mpii.labelled[:, MPII16.index("thorax")], photos.labelled[:, LSP14.index("neck")])
    assert not mpii.labelled[:, MPII16.index("upper_neck")].any()
    hips = LSP14.indices(("l_hip", "r_hip"))
    both = photos.labelled[:, hips].all(1)
    pelvis = MPII16.index("pelvis")
    assert 0 < both.sum() < 40
    np.testing.assert_array_equal(mpii.labelled[:, pelvis], both)
    np.testing.assert_array_equal(mpii.visible[:, pelvis], photos.visible[:, hips].all(1))
    np.testing.assert_allclose(mpii.xy[both, pelvis], photos.xy[both][:, hips].mean(1), rtol=1e-6)
    assert (mpii.xy[~mpii.labelled] == 0).all()
    assert mpii.files == photos.files
    np.testing.assert_array_equal(mpii.regions, photos.regions)
    np.testing.assert_array_equal(mpii.head, photos.head)


def test_the_same_joints_are_the_same_set():
    photos = random_set(COCO17, 3, 0)
    assert photos.to_skeleton(COCO17) is photos


@pytest.mark.parametrize("target", SKELETONS.values(), ids=SKELETONS)
@pytest.mark.parametrize("source", [LSP14, MPII16, COCO17], ids=lambda skeleton: skeleton.name)
@pytest.mark.parametrize("seed", range(3))
def test_to_skeleton_and_select_commute(source, target, seed):
    photos = random_set(source, 12, seed)
    rows = np.random.default_rng(seed).permutation(12)[:5]
    assert same(photos.select(rows).to_skeleton(target), photos.to_skeleton(target).select(rows))


@pytest.mark.parametrize("source", [LSP14, MPII16, H36M17], ids=lambda skeleton: skeleton.name)
def test_fully_labelled_people_are_converted_as_poses_are(source):
    photos = random_set(source, 5, 0)
    xy, every = np.random.default_rng(1).normal(size=photos.xy.shape), np.ones(photos.labelled.shape, bool)
    photos = PhotoSet("x", source, photos.files, xy, every, every, photos.regions, photos.head)
    result = photos.to_skeleton(LSP14)
    assert result.labelled.all()
    np.testing.assert_allclose(result.xy, convert(xy, source, LSP14), atol=1e-6)


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


def test_no_photo_is_on_both_sides():
    photos = random_set(COCO17, 40, 0)  # two people in each photo
    rest, held = hold_back(photos, 6, seed=1)
    assert 6 < len(held) <= 12
    assert len(held) + len(rest) == 40
    assert not set(rest.files) & set(held.files)


@pytest.mark.parametrize("seed", range(20))
def test_hold_back_does_not_take_the_last_photo(seed):
    photos = random_set(COCO17, 4, 0)
    with pytest.raises(DataError, match="made-up: cannot hold back 3 of 4 photos"):
        hold_back(photos, 3, seed=seed)


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

"""MPII and COCO in every form that people have them, read to exact numbers; any other layout is one clear line."""

import json

import cv2
import h5py
import numpy as np
import pytest
from scipy.io import savemat

from hourglass.data import read_photos
from hourglass.readers import read_coco, read_lspet, read_mpii
from pipeline.errors import DataError
from pipeline.skeleton import COCO17, MPII16
from tests.hourglass.photos import (
    COCO_NAMES,
    coco_content,
    coco_person,
    matlab_person,
    mpii_entry,
    mpii_joints,
    people,
    write_json,
    write_lspet,
    write_mpii_h5,
    write_mpii_mat,
    write_photos,
)

OFFICIAL = "mpii_human_pose_v1_u12_1.mat"
PLACES = np.stack([10 + np.arange(16), 20 + np.arange(16)], 1)  # of `mpii_joints`, counted from 0


def lists_file(folder, entries, *, name="mpii_annotations.json", photos=("a.jpg",)):
    write_photos(folder / "images", photos)
    return write_json(folder / name, entries)


# mpii_annotations.json


def test_the_list_of_all_people(tmp_path):
    joints = mpii_joints()
    joints[0] = 0  # not labelled
    joints[3, 2] = 0  # hidden
    path = lists_file(tmp_path, [mpii_entry(joint_self=joints.tolist())])
    photos = read_mpii(path)
    assert (photos.name, photos.skeleton, len(photos)) == ("mpii", MPII16, 1)
    assert photos.files == [tmp_path / "images" / "a.jpg"]
    assert (photos.xy.dtype, photos.xy.shape) == (np.float32, (1, 16, 2))
    np.testing.assert_array_equal(photos.labelled[0], np.arange(16) != 0)
    np.testing.assert_array_equal(photos.visible[0], (np.arange(16) != 0) & (np.arange(16) != 3))
    np.testing.assert_array_equal(photos.xy[0, 1:], PLACES[1:])
    assert np.isnan(photos.head).all()


def test_the_region_of_the_standard_protocol(tmp_path):
    # 15 pixels lower for each unit of scale, 1.25 times as large; and pixels counted from 0.
    photos = read_mpii(lists_file(tmp_path, [mpii_entry(objpos=[594.0, 257.0], scale_provided=3.0)]))
    np.testing.assert_allclose(photos.regions, [[593, 301, 750]])


def test_parts_of_the_list(tmp_path):
    entries = [mpii_entry(f"{n}.jpg", valid=n in (1, 3)) for n in range(5)]
    path = lists_file(tmp_path, entries, photos=[f"{n}.jpg" for n in range(5)])
    names = {part: [file.stem for file in read_mpii(path, part=part).files] for part in ("", "train", "valid")}
    assert names == {"": ["0", "1", "2", "3", "4"], "train": ["0", "2", "4"], "valid": ["1", "3"]}
    assert read_photos(f"mpii-valid:{tmp_path}").name == "mpii-valid"


def test_people_of_one_photo_share_its_path(tmp_path):
    photos = read_mpii(lists_file(tmp_path, [mpii_entry(), mpii_entry()]))
    assert photos.files[0] is photos.files[1]


@pytest.mark.parametrize("place", ["annot/images", "images", "../images", "annot", "."])
def test_where_the_photos_of_mpii_lie(tmp_path, monkeypatch, place):
    write_photos(tmp_path / "set" / place, ["a.jpg"])
    write_json(tmp_path / "set" / "annot" / "mpii_annotations.json", [mpii_entry()])
    assert read_mpii(tmp_path / "set").read(0).shape == (48, 64, 3)
    monkeypatch.chdir(tmp_path / "set" / "annot")
    assert len(read_photos("mpii:mpii_annotations.json")) == 1


def test_no_photo_of_mpii(tmp_path):
    path = write_json(tmp_path / "mpii_annotations.json", [mpii_entry()])
    with pytest.raises(DataError, match=r"none of its photos, such as a\.jpg, is there; unpack them to .*/images$"):
        read_mpii(path)


# train.json and valid.json


def hrnet_entry(name="a.jpg", **changes):
    joints = mpii_joints()[:, :2]
    seen = np.ones(16, int)
    joints[5], seen[5] = -1, 0
    entry = {"image": name, "joints": joints.tolist(), "joints_vis": seen.tolist(), "center": [594.0, 257.0]}
    return {**entry, "scale": 3.0, **changes}


def test_the_lists_of_hrnet(tmp_path):
    photos = read_mpii(lists_file(tmp_path, [hrnet_entry()], name="annot/valid.json"))
    np.testing.assert_array_equal(photos.labelled[0], np.arange(16) != 5)
    np.testing.assert_array_equal(photos.visible, photos.labelled)
    known = photos.labelled[0]
    np.testing.assert_array_equal(photos.xy[0, known], PLACES[known])
    np.testing.assert_allclose(photos.regions, [[593, 301, 750]])


def test_parts_in_two_lists(tmp_path):
    lists_file(tmp_path, [hrnet_entry("a.jpg")], name="annot/train.json")
    lists_file(tmp_path, [hrnet_entry("b.jpg")], name="annot/valid.json", photos=["b.jpg"])
    names = {part: [file.stem for file in read_mpii(tmp_path, part=part).files] for part in ("", "train", "valid")}
    assert names == {"": ["a", "b"], "train": ["a"], "valid": ["b"]}


# train.h5 and valid.h5


def test_the_arrays(tmp_path):
    part = np.tile(mpii_joints()[:, :2], (3, 1, 1))
    part[0, 2] = 0
    visible = np.ones((3, 16))
    visible[1, 4] = 0
    part[2], visible[2] = -1, -1  # somebody without labels
    write_photos(tmp_path / "images", ["a.jpg", "b.jpg", "c.jpg"])
    names, heads = ["a.jpg", "b.jpg", "c.jpg"], np.array([6.5, -1, -1])
    path = write_mpii_h5(tmp_path / "annot" / "valid.h5", names, part=part, visible=visible, normalize=heads)
    photos = read_mpii(path)
    assert [file.name for file in photos.files] == ["a.jpg", "b.jpg"]
    np.testing.assert_array_equal(photos.labelled[0], np.arange(16) != 2)
    np.testing.assert_array_equal(photos.visible[1], np.arange(16) != 4)
    assert photos.labelled[1].all()
    np.testing.assert_array_equal(photos.xy[1], PLACES)
    np.testing.assert_array_equal(photos.head, [6.5, np.nan])
    # The file holds 31, 24 and 0.25: scale 0.2 and centre 21 of the official file, moved and enlarged already.
    np.testing.assert_allclose(photos.regions, [[30, 23, 50]] * 2)


def test_all_forms_say_the_same(tmp_path):
    write_photos(tmp_path / "images", ["a.jpg"])
    points = {k: tuple(row) for k, row in enumerate(mpii_joints().tolist())}
    rectangle = {"x1": 11.0, "y1": 12.0, "x2": 17.0, "y2": 20.0}
    person = matlab_person(points, scale=0.2, objpos={"x": 31, "y": 21}, **rectangle)
    forms = [
        read_mpii(write_json(tmp_path / "mpii_annotations.json", [mpii_entry()])),
        read_mpii(write_mpii_h5(tmp_path / "valid.h5", ["a.jpg"])),
        read_mpii(write_mpii_mat(tmp_path / OFFICIAL, [{"name": "a.jpg", "train": 1, "people": [person]}])),
        read_mpii(
            write_json(tmp_path / "valid.json", [hrnet_entry(center=[31, 21], scale=0.2)]),
        ),
    ]
    for form in forms:
        known = form.labelled[0]
        np.testing.assert_array_equal(form.xy[0, known], forms[0].xy[0, known])
        np.testing.assert_allclose(form.regions, forms[0].regions, atol=1e-9)
        assert form.files == forms[0].files
    np.testing.assert_allclose([form.head[0] for form in forms], [np.nan, 6, 6, np.nan])  # 0.6 of hypot(6, 8)


def test_parts_in_two_files_of_arrays(tmp_path):
    write_photos(tmp_path / "images", ["a.jpg", "b.jpg"])
    write_mpii_h5(tmp_path / "annot" / "train.h5", ["a.jpg"])
    valid = write_mpii_h5(tmp_path / "annot" / "valid.h5", ["b.jpg"])
    names = {part: [file.stem for file in read_mpii(tmp_path, part=part).files] for part in ("", "train", "valid")}
    assert names == {"": ["a", "b"], "train": ["a"], "valid": ["b"]}
    assert len(read_mpii(valid, part="valid")) == 1
    with pytest.raises(DataError, match=r"valid\.h5: is not the train part; give the folder, or mpii:.*valid\.h5$"):
        read_mpii(valid, part="train")
    (tmp_path / "annot" / "train.h5").unlink()
    with pytest.raises(DataError, match=r"annot: holds valid\.h5 but not train\.h5; put it there"):
        read_mpii(tmp_path, part="train")


def test_arrays_may_lack_heads_and_places(tmp_path):
    write_photos(tmp_path / "images", ["a.jpg"])
    unknown = {"scale": np.array([-1.0]), "center": np.array([[-1.0, -1.0]])}
    path = write_mpii_h5(tmp_path / "train.h5", ["a.jpg"], **unknown)
    with h5py.File(path, "a") as file:
        del file["normalize"]
    photos = read_mpii(path)
    assert np.isnan(photos.head).all()
    assert np.isnan(photos.regions).any()
    region = photos.region(0)  # around the joints
    assert (region.x, region.y, region.side) == (17.5, 27.5, 15 * 1.25)


# The official file


def test_the_official_file(tmp_path):
    write_photos(tmp_path / "images", ["a.jpg", "b.jpg", "t.jpg"])
    place = {"scale": 3.0, "objpos": {"x": 594, "y": 257}}
    head = {"x1": 627, "y1": 100, "x2": 706, "y2": 198}
    first = matlab_person({0: (11, 21, 1), 6: (17, 27, 0), 9: (20.5, 30.25)}, **place, **head)
    second = matlab_person({15: (26, 36, "0"), 2: (13, 23, "1"), 4: (0, 0, 1)}, **place)
    images = [
        {"name": "a.jpg", "train": 1, "people": [first, second]},
        {"name": "t.jpg", "train": 0, "people": [{"scale": 3.0, "objpos": {"x": 5, "y": 6}}]},
        {"name": "u.jpg", "train": 0, "people": None},
        {"name": "v.jpg", "train": 1, "people": None},
        {"name": "w.jpg", "train": 1, "people": [{"x1": 1, "y1": 2}]},
        {"name": "b.jpg", "train": 1, "people": [matlab_person({7: (18, 28, 1)})]},
    ]
    photos = read_mpii(write_mpii_mat(tmp_path / "annot" / OFFICIAL, images))
    assert [file.name for file in photos.files] == ["a.jpg", "a.jpg", "b.jpg"]
    assert [np.flatnonzero(row).tolist() for row in photos.labelled] == [[0, 6, 9], [2, 15], [7]]
    assert [np.flatnonzero(row).tolist() for row in photos.visible] == [[0, 9], [2], [7]]
    np.testing.assert_array_equal(photos.xy[0, [0, 6, 9]], [(10, 20), (16, 26), (19.5, 29.25)])
    np.testing.assert_allclose(photos.head, [0.6 * (79**2 + 98**2) ** 0.5, np.nan, np.nan])
    np.testing.assert_allclose(photos.regions[:2], [[593, 301, 750]] * 2)
    assert np.isnan(photos.regions[2]).any()


def test_the_official_file_has_no_parts(tmp_path):
    write_mpii_mat(tmp_path / OFFICIAL, [{"name": "a.jpg", "train": 1, "people": None}])
    expected = r"u12_1\.mat: the official labels have no valid part; use mpii:.*, or the json or h5 form$"
    with pytest.raises(DataError, match=expected):
        read_photos(f"mpii-valid:{tmp_path}")


def test_an_official_file_without_labels(tmp_path):
    path = write_mpii_mat(tmp_path / OFFICIAL, [{"name": "a.jpg", "train": 0, "people": None}])
    with pytest.raises(DataError, match=r"u12_1\.mat: labels nobody; give a file of labels that has people in it"):
        read_mpii(path)


@pytest.mark.parametrize(
    "content",
    [
        {"RELEASE": {"annolist": np.zeros((0, 0)), "img_train": [1]}},
        {"RELEASE": {"img_train": [1]}},
        {"RELEASE": "text"},
        {"RELEASE": 7.0},
    ],
)
def test_an_official_file_with_another_content(tmp_path, content):
    savemat(tmp_path / OFFICIAL, content)
    with pytest.raises(DataError, match="expected RELEASE with annolist and img_train, one for each image"):
        read_mpii(tmp_path)


def test_an_official_file_without_a_release(tmp_path):
    savemat(tmp_path / OFFICIAL, {"joints": np.zeros(3)})
    with pytest.raises(DataError, match=r"u12_1\.mat: not a MATLAB file with a struct 'RELEASE'"):
        read_mpii(tmp_path)


def test_the_preferred_form_of_a_folder(tmp_path):
    lists_file(tmp_path, [mpii_entry()])
    write_mpii_h5(tmp_path / "valid.h5", ["a.jpg"] * 2)
    assert len(read_mpii(tmp_path)) == 1


def test_a_folder_without_mpii(tmp_path):
    expected = r"no labels of MPII in it; expected one of: mpii_annotations\.json, train\.h5 and valid\.h5, .*\.mat$"
    with pytest.raises(DataError, match=expected):
        read_mpii(tmp_path)
    (tmp_path / "labels.txt").write_text("")
    expected = r"labels\.txt: expected labels of MPII as \.json, \.h5 or \.mat, or their folder$"
    with pytest.raises(DataError, match=expected):
        read_mpii(tmp_path / "labels.txt")


def test_a_list_that_does_not_tell_the_part(tmp_path):
    path = lists_file(tmp_path, [hrnet_entry()], name="people.json")
    with pytest.raises(DataError, match=r"does not say who belongs to the train part; use mpii:.*people\.json$"):
        read_mpii(path, part="train")


# COCO


def coco_file(folder, entries, *, images=None, name="annotations/person_keypoints_val2017.json"):
    images = {1: "000000000001.jpg"} if images is None else images
    write_photos(folder / "val2017", images.values())
    return write_json(folder / name, coco_content(entries, images))


def test_coco(tmp_path):
    keypoints = coco_person()["keypoints"]
    keypoints[3 * 4 : 3 * 4 + 3] = [0, 0, 0]
    keypoints[3 * 9 + 2] = 1
    path = coco_file(tmp_path, [coco_person(keypoints=keypoints, bbox=[8.0, 18.0, 20.0, 24.0])])
    photos = read_photos(f"coco:{path}")
    assert (photos.name, photos.skeleton) == ("coco", COCO17)
    assert photos.files == [tmp_path / "val2017" / "000000000001.jpg"]
    np.testing.assert_array_equal(photos.labelled[0], np.arange(17) != 4)
    np.testing.assert_array_equal(photos.visible[0], (np.arange(17) != 4) & (np.arange(17) != 9))
    # Joints are numbers of pixels, as they are here.
    np.testing.assert_array_equal(photos.xy[0, [0, 16]], [(10, 20), (26, 36)])
    # The box is measured from the edge of the first pixel: its middle (18, 30) is half a pixel less here.
    np.testing.assert_allclose(photos.regions, [[17.5, 29.5, 24 * 1.25]])
    assert np.isnan(photos.head).all()


def test_who_is_in_coco(tmp_path):
    nobody = [0] * 51
    nose = [12, 13, 2, *nobody[3:]]
    entries = [
        coco_person(2, keypoints=nose, num_keypoints=1),
        coco_person(1, iscrowd=1),
        coco_person(1, keypoints=nobody, num_keypoints=0),
        {"image_id": 1, "category_id": 18, "bbox": [1, 2, 3, 4]},  # a dog
        coco_person(1),
        coco_person(2),
    ]
    photos = read_coco(coco_file(tmp_path, entries, images={1: "a.jpg", 2: "b.jpg"}))
    assert [file.name for file in photos.files] == ["b.jpg", "a.jpg", "b.jpg"]
    assert photos.labelled.sum(1).tolist() == [1, 17, 17]


@pytest.mark.parametrize(
    "place", ["val2017", "annotations/val2017", "images/val2017", "annotations/images", "images", "annotations", "."]
)
def test_where_the_photos_of_coco_lie(tmp_path, monkeypatch, place):
    write_photos(tmp_path / place, ["a.jpg"])
    path = write_json(
        tmp_path / "annotations" / "person_keypoints_val2017.json", coco_content([coco_person()], {1: "a.jpg"})
    )
    assert read_coco(path).files[0].samefile(tmp_path / place / "a.jpg")
    monkeypatch.chdir(path.parent)
    assert len(read_photos(f"coco:{path.name}")) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: [c], "expected lists 'images' and 'annotations' in it"),
        (lambda c: "text", "expected lists 'images' and 'annotations' in it"),
        (lambda c: {"annotations": c["annotations"]}, "expected lists 'images' and 'annotations' in it"),
        (lambda c: {**c, "annotations": {}}, "expected lists 'images' and 'annotations' in it"),
        (lambda c: {**c, "annotations": []}, "no annotation in it has keypoints"),
        (lambda c: {**c, "annotations": [{"bbox": [1, 2, 3, 4]}]}, "no annotation in it has keypoints"),
        (lambda c: {**c, "categories": [{"keypoints": COCO_NAMES[::-1]}]}, "not the 17 of COCO, nose, l_eye"),
        (lambda c: {**c, "categories": [{"keypoints": ["hip"] * 14}]}, "not the 17 of COCO, nose, l_eye"),
        (lambda c: {**c, "categories": [{"keypoints": 5}]}, "not the 17 of COCO, nose, l_eye"),
    ],
)
def test_a_file_that_is_not_coco(tmp_path, change, message):
    path = coco_file(tmp_path, [coco_person()])
    write_json(path, change(json.loads(path.read_text())))
    with pytest.raises(DataError, match=message + ".*; give COCO's person_keypoints_"):
        read_coco(path)


@pytest.mark.parametrize("categories", [None, 5, [], [7], [{"id": 1}]])
def test_coco_without_names_of_joints(tmp_path, categories):
    path = coco_file(tmp_path, [coco_person()])
    write_json(path, {**json.loads(path.read_text()), "categories": categories})
    assert len(read_coco(path)) == 1


def test_a_folder_of_coco(tmp_path):
    with pytest.raises(DataError, match=r"is a folder; give COCO's file of labels, such as person_keypoints_val2017"):
        read_coco(tmp_path)


def test_coco_names_photos_by_any_kind_of_number(tmp_path):
    entries = [coco_person("x"), coco_person(2.0)]
    assert len(read_coco(coco_file(tmp_path, entries, images={"x": "a.jpg", 2: "b.jpg"}))) == 2


# Leeds Sports Pose, what test_data does not hold


def test_lspet_of_larger_photos(tmp_path):
    folder = write_lspet(tmp_path / "hr-lspet", people(2), np.ones((2, 14), bool))
    for path in sorted((folder / "images").iterdir()):
        cv2.imwrite(str(path.with_suffix(".png")), cv2.imread(str(path)))
        path.unlink()
    photos = read_lspet(folder)
    assert [file.name for file in photos.files] == ["im00001.png", "im00002.png"]
    assert photos.read(1).shape == (64, 64, 3)

"""What data sets hold when something went wrong: each kind of damage is one clear line, and none is a crash."""

import struct

import cv2
import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from hourglass.data import read_photos
from hourglass.matfile import read_matlab
from hourglass.photofile import photo_size, read_photo
from hourglass.readers import read_coco, read_lsp, read_lspet, read_mpii
from pipeline.errors import DataError
from pipeline.limits import max_pixels
from tests.hourglass.photos import (
    coco_content,
    coco_person,
    matlab_person,
    mpii_entry,
    mpii_joints,
    people,
    simple_set,
    write_json,
    write_lsp,
    write_mpii_h5,
    write_mpii_mat,
    write_photos,
)

NOISE = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
NOT_FINITE = (np.nan, np.inf, -np.inf)


def encoded(image=NOISE, *, ending=".jpg"):
    return cv2.imencode(ending, image)[1].tobytes()


def with_orientation(jpeg, orientation):
    """The same JPEG with an EXIF tag that asks for it to be turned."""
    tag = struct.pack("<HHIHH", 0x112, 3, 1, orientation, 0)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + tag + bytes(4)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


def saved(path, mode):
    Image.fromarray(NOISE).convert(mode).save(path)
    return path.read_bytes()


# Photos that are odd but sound


def odd_photos(folder):
    noise16 = NOISE.astype(np.uint16) * 257
    return {
        "plain.jpg": encoded(),
        "grey.jpg": encoded(NOISE[..., 0]),
        "turned.jpg": with_orientation(encoded(), 6),
        "cmyk.jpg": saved(folder / "cmyk.jpg", "CMYK"),
        "palette.png": saved(folder / "palette.png", "P"),
        "alpha.png": encoded(np.dstack([NOISE, NOISE[..., 0]]), ending=".png"),
        "deep.png": encoded(noise16, ending=".png"),
        "bits.png": saved(folder / "bits.png", "1"),
        "really_png.jpg": encoded(ending=".png"),
        "bitmap.bmp": encoded(ending=".bmp"),
        "webp.webp": encoded(ending=".webp"),
        "appended.jpg": encoded() + b"appended by a telephone" * 100,
        "zeros.jpg": encoded() + bytes(5000),
        "appended.png": encoded(ending=".png") + bytes(5000),
    }


def test_odd_photos_are_read(tmp_path):
    for name, data in odd_photos(tmp_path).items():
        path = tmp_path / name
        path.write_bytes(data)
        image = read_photo(path)
        assert (image.shape, image.dtype) == ((48, 64, 3), np.uint8), name
        assert photo_size(path) == (64, 48), name
        assert image.std() > 20, name


@pytest.mark.parametrize("orientation", range(1, 9))
def test_labels_are_of_the_pixels_as_stored(tmp_path, orientation):
    (tmp_path / "a.jpg").write_bytes(encoded())
    (tmp_path / "b.jpg").write_bytes(with_orientation(encoded(), orientation))
    turned = cv2.imread(str(tmp_path / "b.jpg"), cv2.IMREAD_COLOR)
    assert orientation == 1 or not np.array_equal(turned, cv2.imread(str(tmp_path / "a.jpg")))  # the tag is a real one
    np.testing.assert_array_equal(read_photo(tmp_path / "b.jpg"), read_photo(tmp_path / "a.jpg"))


def test_one_pixel(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(NOISE[:1, :1], ending=".png"))
    assert read_photo(tmp_path / "a.png").shape == (1, 1, 3)
    assert photo_size(tmp_path / "a.png") == (1, 1)


# Photos that are damaged


def damaged_photos():
    jpeg, png = encoded(), encoded(ending=".png")
    thumbnail = b"\xff\xe1" + struct.pack(">H", len(encoded(NOISE[:8, :8])) + 2) + encoded(NOISE[:8, :8])
    with_thumbnail = jpeg[:2] + thumbnail + jpeg[2:]
    large = png[:16] + struct.pack(">II", 40000, 40000) + png[24:]
    assert max_pixels() < 40000**2
    return {
        "empty.jpg": b"",
        "text.jpg": b"404 not found\n" * 20,
        "early.jpg": jpeg[:100],
        "half.jpg": jpeg[: len(jpeg) // 2],
        "last_byte.jpg": jpeg[:-1],
        "no_end.jpg": jpeg[:-2],
        "start.jpg": jpeg[:3],
        "marker.jpg": jpeg[:2] + bytes(50) + jpeg[2:],
        "thumbnail.jpg": with_thumbnail[: len(with_thumbnail) // 2 + len(thumbnail)],
        "half.png": png[: len(png) // 2],
        "no_end.png": png[:-12],
        "start.png": png[:12],
        "large.png": large,
        "no_width.png": png[:16] + bytes(4) + png[20:],
        "half.bmp": encoded(ending=".bmp")[:40],
    }


@pytest.mark.parametrize("name", damaged_photos())
def test_damaged_photos(tmp_path, name, capfd):
    (tmp_path / name).write_bytes(damaged_photos()[name])
    assert photo_size(tmp_path / name) is None
    problem = "(damaged or cut short|missing or not an image); unpack the data set again"
    if name == "large.png":
        problem = "40000 x 40000 pixels exceed the limit of 100 megapixels; .* or set POSECLI_MAX_MEGAPIXELS"
    with pytest.raises(DataError, match=rf"{name}: {problem}"):
        read_photo(tmp_path / name)
    assert "Premature" not in capfd.readouterr().err  # the JPEG decoder's own words


@pytest.mark.parametrize("name", ["nothing.jpg", "folder.jpg", "x" * 300 + ".jpg", "nul\0.jpg"])
def test_photos_that_are_no_files(tmp_path, name):
    (tmp_path / "folder.jpg").mkdir()
    assert photo_size(tmp_path / name) is None
    with pytest.raises(DataError, match=r"\.jpg: missing or not an image; unpack the data set again"):
        read_photo(tmp_path / name)


@pytest.mark.parametrize("place", np.linspace(0, 0.99, 12))
def test_a_photo_cut_anywhere(tmp_path, place):
    for ending in (".jpg", ".png"):
        data = encoded(ending=ending)
        (tmp_path / "a").write_bytes(data[: int(place * len(data))])
        assert photo_size(tmp_path / "a") is None
        with pytest.raises(DataError):
            read_photo(tmp_path / "a")


# Sets with a few damaged photos and labels


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records]


def test_a_sound_set_says_nothing(tmp_path, caplog):
    read_photos(f"lspet:{simple_set(tmp_path / 'set', 3)}")
    assert warnings_of(caplog) == []


def test_damaged_photos_are_left_out_and_counted(tmp_path, caplog):
    folder = simple_set(tmp_path / "set", 100)
    images = folder / "images"
    (images / "im00011.jpg").write_bytes(b"")
    (images / "im00005.jpg").write_bytes(encoded()[:500])
    (images / "im00007.jpg").unlink()
    (images / "im00007.jpg").mkdir()
    photos = read_photos(f"lspet:{folder}")
    kept = [n for n in range(1, 101) if n not in (5, 7, 11)]
    assert [file.name for file in photos.files] == [f"im{n:05d}.jpg" for n in kept]
    expected = np.delete(people(100), [4, 6, 10], 0)  # the labels stay with their photos
    np.testing.assert_allclose(photos.xy, expected, atol=1e-4)
    assert warnings_of(caplog) == [
        "lspet: 3 of 100 people left out: 1 without a photo (first: im00007.jpg), "
        "2 with a damaged photo (first: im00005.jpg)"
    ]


@pytest.mark.parametrize("count", [20, 19])
def test_how_much_damage_is_too_much(tmp_path, count):
    folder = simple_set(tmp_path / "set", count)
    (folder / "images" / "im00002.jpg").write_bytes(b"")
    if count == 20:  # one in twenty is borne
        assert len(read_photos(f"lspet:{folder}")) == 19
    else:
        problem = r"1 with a damaged photo \(first: im00002\.jpg\)"
        expected = f"set: 1 of 19 people cannot be used: {problem}; unpack it again$"
        with pytest.raises(DataError, match=expected):
            read_photos(f"lspet:{folder}")


@pytest.mark.parametrize("number", NOT_FINITE)
def test_joints_that_are_no_numbers(tmp_path, caplog, number):
    xy = people(3)
    xy[0, 3, 0] = xy[2, 5, 1] = number
    photos = read_lsp(write_lsp(tmp_path / "set", np.nan_to_num(xy), np.zeros((3, 14), bool)))
    savemat(tmp_path / "set" / "joints.mat", {"joints": np.dstack([xy + 1, np.zeros((3, 14))]).transpose(2, 1, 0)})
    caplog.clear()
    photos = read_lsp(tmp_path / "set")
    expected = np.ones((3, 14), bool)
    expected[0, 3] = expected[2, 5] = False
    np.testing.assert_array_equal(photos.labelled, expected)
    np.testing.assert_array_equal(photos.visible, expected)
    assert np.isfinite(photos.xy).all()
    assert warnings_of(caplog) == ["lsp: joints taken as unlabelled: 2 not finite"]


def test_joints_outside_the_photo(tmp_path, caplog):
    # Of a photo of 64 x 64 pixels, which reaches from -0.5 to 63.5.
    places = [(-64.4, 10), (127.4, 10), (10, -64.4), (10, 127.4), (-64.6, 10), (127.6, 10), (10, -64.6), (10, 127.6)]
    xy = people(1)
    xy[0, :8] = places
    photos = read_lsp(write_lsp(tmp_path / "set", xy, np.zeros((1, 14), bool)))
    assert np.flatnonzero(~photos.labelled[0]).tolist() == [4, 5, 6, 7]
    np.testing.assert_allclose(photos.xy[0, :4], places[:4], atol=1e-4)
    assert warnings_of(caplog) == ["lsp: joints taken as unlabelled: 4 far outside the photo"]


def test_absurd_joints(tmp_path):
    xy = people(1).astype(float)
    xy[0, 0] = 1e100
    photos = read_lsp(write_lsp(tmp_path / "set", xy, np.zeros((1, 14), bool)))  # would not fit into float32
    assert np.flatnonzero(~photos.labelled[0]).tolist() == [0]
    assert photos.xy[0, 0].tolist() == [0, 0]


def test_a_photo_of_one_pixel_has_no_joints(tmp_path, caplog):
    folder = simple_set(tmp_path / "set", 20)
    (folder / "images" / "im00003.jpg").write_bytes(encoded(NOISE[:1, :1]))
    assert len(read_photos(f"lspet:{folder}")) == 19
    assert warnings_of(caplog) == [
        "lspet: 1 of 20 people left out: 1 without a joint on the photo (first: im00003.jpg); "
        "joints taken as unlabelled: 14 far outside the photo"
    ]


def test_people_without_labels_stay_in_lspet(tmp_path):
    folder = simple_set(tmp_path / "set", 2)
    joints = np.ones((14, 3, 2))
    joints[:, 2, 0] = 0
    savemat(folder / "joints.mat", {"joints": joints})
    assert read_lspet(folder).labelled.any(1).tolist() == [False, True]


# Files of labels


@pytest.mark.parametrize("block", [0, 512])
def test_labels_of_matlab_7_3(tmp_path, block):
    with h5py.File(tmp_path / "joints.mat", "w", userblock_size=block) as file:
        file["joints"] = np.zeros((3, 14, 2))
    expected = r"joints\.mat: not a MATLAB file .*; it is of version 7\.3, save it with MATLAB's option -v7$"
    with pytest.raises(DataError, match=expected):
        read_photos(f"lsp:{tmp_path}")


@pytest.mark.parametrize("values", [np.array([["text"]]), np.zeros((3, 14, 2), complex)])
def test_labels_of_another_type(tmp_path, values):
    savemat(tmp_path / "joints.mat", {"joints": values})
    with pytest.raises(DataError, match=r"joints\.mat: .* an array 'joints' \(these are no numbers\); unpack it again"):
        read_photos(f"lsp:{tmp_path}")


def cut_and_flipped(data, path):
    """The bytes cut off at, or with one bit changed at, several places, written to `path` in turn."""
    for place in np.linspace(0, 0.99, 15):
        at = int(place * len(data))
        path.write_bytes(data[:at])
        yield "cut"
        path.write_bytes(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
        yield "flipped"


def official(folder, count=3, **options):
    names = [f"{n}.jpg" for n in range(count)]
    write_photos(folder / "images", names)
    points = {k: tuple(row) for k, row in enumerate(mpii_joints().tolist())}
    person = matlab_person(points, scale=0.2, objpos={"x": 31, "y": 21}, x1=1, y1=1, x2=9, y2=9)
    path = folder / "mpii_human_pose_v1_u12_1.mat"
    return write_mpii_mat(path, [{"name": name, "train": 1, "people": [person]} for name in names], **options)


@pytest.mark.parametrize("compressed", [False, True])
def test_types_in_a_matlab_file(tmp_path, compressed):
    # SciPy ends the whole program when a type is none of those it knows, so it must not come to see one.
    path = official(tmp_path, count=1, do_compression=compressed)
    data = path.read_bytes()
    tags = [at for at in range(128, len(data) - 8, 8) if data[at + 1 : at + 4] == bytes(3) and data[at] in range(1, 15)]
    assert compressed or len(tags) > 100
    for at in tags[:: len(tags) // 15 + 1]:
        for change in (0xF0, 0x0F):
            path.write_bytes(data[:at] + bytes([data[at] ^ change]) + data[at + 1 :])
            message = refusal(f"mpii:{path}")
            assert message is None or "RELEASE" in message or "people" in message or "photos" in message


@pytest.mark.parametrize("compressed", [False, True])
def test_other_variables_are_not_looked_at(tmp_path, compressed):
    content = {"other": {"a": 1, "b": ["text", 1j]}, "joints": np.zeros((3, 14, 2)), "more": np.eye(3) > 0}
    savemat(tmp_path / "a.mat", content, do_compression=compressed)
    assert read_matlab(tmp_path / "a.mat", "joints", what="an array").shape == (3, 14, 2)
    for name in content:  # every kind of thing is found sound
        read_matlab(tmp_path / "a.mat", name, what="a thing")
    with pytest.raises(DataError, match=r"a\.mat: not a MATLAB file with a thing 'poses' .*; unpack it again$"):
        read_matlab(tmp_path / "a.mat", "poses", what="a thing")


def test_a_flipped_bit_in_what_is_compressed(tmp_path):
    savemat(tmp_path / "a.mat", {"joints": np.arange(840.0).reshape(3, 14, 20)}, do_compression=True)
    data = (tmp_path / "a.mat").read_bytes()
    for at in range(136, len(data), len(data) // 60):
        (tmp_path / "a.mat").write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        with pytest.raises(DataError, match=r"a\.mat: not a MATLAB file with an array 'joints'"):
            read_matlab(tmp_path / "a.mat", "joints", what="an array")


def labels_in(form, folder):
    names = [f"{n}.jpg" for n in range(3)]
    write_photos(folder / "images", names)
    if form == "mat":
        return official(folder), "mpii"
    if form == "h5":
        return write_mpii_h5(folder / "valid.h5", names), "mpii"
    if form == "json":
        return write_json(folder / "mpii_annotations.json", [mpii_entry(name) for name in names]), "mpii"
    content = coco_content([coco_person(n) for n in range(3)], dict(enumerate(names)))
    return write_json(folder / "person_keypoints_val2017.json", content), "coco"


def refusal(spec):
    """What `read_photos` has against a set; None if nothing."""
    try:
        assert np.isfinite(read_photos(spec).xy).all()
    except DataError as error:
        return str(error)
    return None


@pytest.mark.parametrize("form", ["mat", "h5", "json", "coco"])
def test_damaged_files_of_labels(tmp_path, form):
    path, kind = labels_in(form, tmp_path)
    refused = 0
    assert len(read_photos(f"{kind}:{path}")) == 3
    for damage in cut_and_flipped(path.read_bytes(), path):
        message = refusal(f"{kind}:{path}")
        if message is None:  # a changed digit is still a digit
            assert damage == "flipped"
        else:
            assert str(path) in message
            assert "\n" not in message
            refused += 1
    assert refused >= 15


@pytest.mark.parametrize("form", ["mat", "h5", "json", "coco"])
@pytest.mark.parametrize("content", [b"", b"not such a file\n" * 50, b"\x89HDF\r\n\x1a\n", b"\xff\xfe\x00"])
def test_files_of_labels_that_are_something_else(tmp_path, form, content):
    path, kind = labels_in(form, tmp_path)
    path.write_bytes(content)
    expected = {"mat": "not a MATLAB file", "h5": "not an HDF5 file, or damaged"}.get(form, "not JSON, or cut short")
    with pytest.raises(DataError, match=rf"{path.name}: {expected}"):
        read_photos(f"{kind}:{path}")


@pytest.mark.parametrize("content", [{}, [], "text", 7, None, [1, 2], [{"keypoints": []}], [None]])
def test_json_that_is_no_list_of_people(tmp_path, content):
    path = write_json(tmp_path / "mpii_annotations.json", content)
    with pytest.raises(DataError, match=r"\.json: expected MPII's list of people with joint_self or joints"):
        read_mpii(path)


def test_json_that_is_too_deep(tmp_path):
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match=r"a\.json: not JSON, or cut short"):
        read_mpii(tmp_path / "a.json")


BAD_ENTRIES = {
    "without joint_self that can be read": [
        {"joint_self": None},
        {"joint_self": "text"},
        {"joint_self": [[1, 2, 3]] * 15},
        {"joint_self": [[1, 2]] * 16},
        {"joint_self": [["a", "b", "c"]] * 16},
        {"joint_self": [[np.nan] * 3] * 16},
        {"joint_self": [[10**400] * 3] * 16},
        {"joint_self": {"a": 1}},
    ],
    "without the name of a photo as img_paths": [{"img_paths": None}, {"img_paths": ""}, {"img_paths": [1]}],
    "without objpos and a positive scale_provided": [
        {"scale_provided": 0},
        {"scale_provided": -1.0},
        {"scale_provided": "large"},
        {"scale_provided": np.inf},
        {"scale_provided": []},
        {"objpos": [1]},
        {"objpos": None},
        {"objpos": [np.nan, 1]},
    ],
    "without a photo": [{"img_paths": "b.jpg"}, {"img_paths": "x" * 300}, {"img_paths": "nul\0"}],
    "without a joint on the photo": [{"joint_self": (mpii_joints() * 1000).tolist()}],
}


@pytest.mark.parametrize(("problem", "change"), [(p, one) for p, changes in BAD_ENTRIES.items() for one in changes])
def test_damaged_people_in_a_list(tmp_path, caplog, problem, change):
    write_photos(tmp_path / "images", ["a.jpg"])
    entries = [mpii_entry() for _ in range(40)]
    entries[6] = mpii_entry(**change)
    photos = read_mpii(write_json(tmp_path / "mpii_annotations.json", entries))
    assert len(photos) == 39
    (message,) = warnings_of(caplog)
    assert message.startswith(f"mpii: 1 of 40 people left out: 1 {problem} (first: ")


@pytest.mark.parametrize("entry", [None, 3, "text", [], {}])
def test_entries_that_are_no_people(tmp_path, caplog, entry):
    write_photos(tmp_path / "images", ["a.jpg"])
    path = write_json(tmp_path / "a.json", [*[mpii_entry()] * 39, entry])
    assert len(read_mpii(path)) == 39
    assert "1 of 40 people left out: 1 without joint_self that can be read (first: entry 40)" in warnings_of(caplog)[0]


def test_numbers_as_strings_are_numbers(tmp_path):
    write_photos(tmp_path / "images", ["a.jpg"])
    entry = mpii_entry(scale_provided="0.2", objpos=["31", "21"])
    photos = read_mpii(write_json(tmp_path / "a.json", [entry, mpii_entry()]))
    np.testing.assert_array_equal(photos.regions[0], photos.regions[1])


def test_a_few_problems_are_one_line(tmp_path, caplog):
    write_photos(tmp_path / "images", ["a.jpg"])
    entries = [mpii_entry() for _ in range(60)]
    for row, change in enumerate([{"scale_provided": 0}, {"scale_provided": -1}, {"img_paths": "b.jpg"}, {}]):
        entries[row] = mpii_entry(**change)
    entries[3]["joint_self"][4][0] = np.nan
    assert len(read_mpii(write_json(tmp_path / "a.json", entries))) == 57
    assert warnings_of(caplog) == [
        "mpii: 3 of 60 people left out: 2 without objpos and a positive scale_provided (first: entry 1), "
        "1 without a photo (first: b.jpg); joints taken as unlabelled: 1 not finite"
    ]


def test_fields_that_are_missing_throughout(tmp_path):
    entries = [{key: value for key, value in mpii_entry().items() if key != "scale_provided"}] * 3
    write_photos(tmp_path / "images", ["a.jpg"])
    path = write_json(tmp_path / "a.json", entries)
    expected = r"a\.json: 3 of 3 people cannot be used: 3 without objpos and a positive scale_provided"
    with pytest.raises(DataError, match=expected):
        read_mpii(path)


def test_a_part_with_nobody_in_it(tmp_path):
    write_photos(tmp_path / "images", ["a.jpg"])
    path = write_json(tmp_path / "a.json", [mpii_entry()])
    with pytest.raises(DataError, match=r"a\.json: labels nobody; give a file of labels that has people in it"):
        read_mpii(path, part="valid")


@pytest.mark.parametrize(
    ("key", "array", "message"),
    [
        ("part", np.zeros((2, 14, 2)), r"expected part to be numbers of shape \(2, 16, 2\), got float64 \(2, 14, 2\)"),
        ("part", np.full((2, 16, 2), b"x"), r"expected part to be numbers of shape \(2, 16, 2\), got \|S1"),
        ("center", np.zeros((2, 3)), r"expected center to be numbers of shape \(2, 2\), got float64 \(2, 3\)"),
        ("scale", np.zeros((2, 1)), r"expected scale to be numbers of shape \(2,\), got float64 \(2, 1\)"),
        ("visible", np.zeros((1, 16)), r"expected visible to be numbers of shape \(2, 16\), got float64 \(1, 16\)"),
        ("normalize", np.zeros(3), r"expected normalize to be numbers of shape \(2,\), got float64 \(3,\)"),
        ("imgname", np.zeros((2, 16)), "imgname does not hold names of photos; download it again"),
        ("imgname", np.array([b"\xff\xff", b"a"]), "imgname does not hold names of photos; download it again"),
        ("imgname", np.array([b"", b"a"]), "imgname does not hold names of photos; download it again"),
    ],
)
def test_arrays_of_the_wrong_kind(tmp_path, key, array, message):
    path = write_mpii_h5(tmp_path / "valid.h5", ["a.jpg", "b.jpg"], **{key: array})
    with pytest.raises(DataError, match=r"valid\.h5: " + message):
        read_mpii(path)


@pytest.mark.parametrize("key", ["imgname", "part", "center", "scale", "visible"])
def test_arrays_that_are_missing(tmp_path, key):
    path = write_mpii_h5(tmp_path / "valid.h5", ["a.jpg"])
    with h5py.File(path, "a") as file:
        del file[key]
        if key == "part":
            file.create_group("other")
    with pytest.raises(DataError, match=rf"valid\.h5: no array {key}; expected MPII's labels in the form of princeton"):
        read_mpii(path)


def test_a_group_in_place_of_an_array(tmp_path):
    path = write_mpii_h5(tmp_path / "valid.h5", ["a.jpg"])
    with h5py.File(path, "a") as file:
        del file["part"]
        file.create_group("part")
    with pytest.raises(DataError, match=r"valid\.h5: "):
        read_mpii(path)


@pytest.mark.parametrize("scale", [0.0, -3.0, np.nan, np.inf])
def test_scales_in_arrays(tmp_path, caplog, scale):
    write_photos(tmp_path / "images", ["a.jpg"])
    scales = np.full(20, 0.25)
    scales[4] = scale
    assert len(read_mpii(write_mpii_h5(tmp_path / "valid.h5", ["a.jpg"] * 20, scale=scales))) == 19
    assert warnings_of(caplog) == [
        "mpii: 1 of 20 people left out: 1 without center and a positive scale (first: a.jpg)"
    ]


def test_damaged_people_in_the_official_file(tmp_path, caplog):
    write_photos(tmp_path / "images", ["a.jpg"])
    good = {"name": "a.jpg", "train": 1, "people": [matlab_person({0: (11, 21, 1)}, scale=0.2)]}
    bad = [
        {**good, "people": [matlab_person({0: (11, 21, 1)}, scale=-1)]},
        {**good, "name": np.zeros((0, 0))},
        {**good, "people": [matlab_person({0: (np.nan, 21, 1)}, scale=0.2)]},
        {**good, "people": [matlab_person({16: (11, 21, 1), 1.5: (1, 2, 1)}, scale=0.2)]},  # no such joints
        {**good, "people": [{"annopoints": {"point": "text"}, "scale": "x"}]},
    ]
    photos = read_mpii(write_mpii_mat(tmp_path / "a.mat", [good] * 70 + bad))
    assert len(photos) == 70
    assert warnings_of(caplog) == [
        "mpii: 3 of 73 people left out: 1 with a scale that is not positive (first: a.jpg), "
        "1 without the name of a photo (first: image 72), 1 without a joint on the photo (first: a.jpg); "
        "joints taken as unlabelled: 1 not finite"
    ]


BAD_PEOPLE = {
    "without 17 keypoints that can be read": [
        {"keypoints": None},
        {"keypoints": [1, 2, 3]},
        {"keypoints": ["a"] * 51},
        {"keypoints": {"nose": [1, 2]}},
    ],
    "of a photo that is not listed": [{"image_id": 7}, {"image_id": None}, {"image_id": [1]}, {"image_id": {}}],
    "with an empty bbox": [
        {"bbox": [1, 2, 0, 4]},
        {"bbox": [1, 2, 3, -4]},
        {"bbox": [1, 2, 3]},
        {"bbox": None},
        {"bbox": ["a", 2, 3, 4]},
        {"bbox": [np.nan, 2, 3, 4]},
        {"bbox": [1, 2, np.inf, 4]},
    ],
    "without a photo": [{"image_id": 2}],
}


@pytest.mark.parametrize(("problem", "change"), [(p, one) for p, changes in BAD_PEOPLE.items() for one in changes])
def test_damaged_people_in_coco(tmp_path, caplog, problem, change):
    write_photos(tmp_path / "images", ["a.jpg"])
    entries = [coco_person() for _ in range(20)]
    entries[6] = coco_person(**change)
    path = write_json(tmp_path / "person_keypoints_x.json", coco_content(entries, {1: "a.jpg", 2: "gone.jpg"}))
    assert len(read_coco(path)) == 19
    (message,) = warnings_of(caplog)
    assert message.startswith(f"coco: 1 of 20 people left out: 1 {problem} (first: ")


def test_damaged_lists_of_coco(tmp_path):
    write_photos(tmp_path / "images", ["a.jpg"])
    content = coco_content([coco_person() for _ in range(39)], {1: "a.jpg"})
    content["annotations"] += [None]
    content["images"] += [None, {}, {"id": [1]}, {"id": 3, "file_name": 5}]
    assert len(read_coco(write_json(tmp_path / "a.json", content))) == 39
    content["images"] = []
    with pytest.raises(DataError, match=r"a\.json: 40 of 40 people cannot be used: .*39 of a photo that is not listed"):
        read_coco(write_json(tmp_path / "a.json", content))

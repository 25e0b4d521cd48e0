"""The store gives back exactly what was put in, and any damage is one clear line."""

import json
from dataclasses import fields, replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline import posestore
from pipeline.errors import DataError, InputError, OutputError
from pipeline.people import ClipPoses, Person
from tests.pipeline.posed import clip, even, two_people, walk


def assert_same(found: ClipPoses, expected: ClipPoses) -> None:
    """Every field is equal, arrays with their dtype."""
    for one, other in [(found, expected), *zip(found.people, expected.people, strict=True)]:
        for field in fields(one):
            value, truth = getattr(one, field.name), getattr(other, field.name)
            if isinstance(truth, np.ndarray):
                assert value.dtype == truth.dtype, field.name
                np.testing.assert_array_equal(value, truth, err_msg=field.name)
            elif field.name != "people":
                assert value == truth
                assert type(value) is type(truth)


@pytest.mark.parametrize("poses", [walk(), two_people(), walk(1), clip(times=even(4))])
def test_what_is_written_is_read(tmp_path: Path, poses: ClipPoses) -> None:
    path = tmp_path / "a.h5"
    assert posestore.write(path, poses) == (path,)
    assert_same(posestore.read(path), poses)


def test_numbers_keep_all_their_digits(tmp_path: Path) -> None:
    (person,) = walk(2).people
    world = np.nextafter(person.world, np.inf)
    person = replace(person, world=world, score=person.score.astype(np.float32), frame=person.frame.astype(np.uint16))
    poses = replace(walk(2), people=(person,), fps=30000 / 1001, focal_px=1 / 3, focal_origin="--fov")
    posestore.write(tmp_path / "a.h5", poses)
    assert_same(posestore.read(tmp_path / "a.h5"), poses)


def test_order_is_kept_beyond_ten_and_names_need_not_be_text(tmp_path: Path) -> None:
    (person,) = walk(2).people
    people = tuple(replace(person, id=number) for number in range(12, 0, -1))
    poses = replace(
        walk(2), people=people, source="Spr\u00fcnge \udcff.mp4"
    )  # as a file system gives undecodable bytes
    posestore.write(tmp_path / "a.h5", poses)
    assert_same(posestore.read(tmp_path / "a.h5"), poses)


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    posestore.write(tmp_path / "a.h5", two_people())
    with h5py.File(tmp_path / "a.h5") as file:
        assert (file.attrs["format"], file.attrs["version"], file.attrs["skeleton3d"]) == (
            b"posecli clip",
            1,
            b"h36m17",
        )
        assert json.loads(file.attrs["provenance"])["detector"] == "hourglass-s"
        assert [group.attrs["id"] for group in file["people"].values()] == [1, 3]
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        assert len(names) == 1 + 2 * 7
        assert all(file[name].fletcher32 for name in names)


def test_no_flipped_bit_goes_unnoticed(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    poses = walk(2)
    posestore.write(path, poses)
    content, noticed = bytearray(path.read_bytes()), 0
    for place in range(0, len(content), 97):
        content[place] ^= 0x10
        path.write_bytes(content)
        content[place] ^= 0x10
        try:
            assert_same(posestore.read(path), poses)  # some bytes mean nothing
        except DataError as error:
            assert str(error).startswith(f"{path}: ")  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017
            noticed += 1
    assert noticed > 50


def test_files_that_are_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    posestore.write(path, walk(2))
    content = path.read_bytes()
    for size in range(0, len(content), 997):
        path.write_bytes(content[:size])
        with pytest.raises(DataError, match=r"a\.h5: not a readable file of poses \(.*\); write it again"):
            posestore.read(path)


def changed(path: Path, name: str, value: object) -> None:
    """Change an attribute ('people/000000@id') or a data set; None deletes it."""
    place, _, attribute = name.partition("@")
    with h5py.File(path, "a") as file:
        if attribute:
            target, key = file[place or "/"].attrs, attribute
        else:
            target, key = file, place
        del target[key]
        if value is not None:
            target[key] = value


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "@format",
            np.bytes_("posecli poses"),
            "an HDF5 file, but not one of a clip's poses; write one by exporting to .h5",
        ),
        ("@format", None, "not one of a clip's poses"),
        ("@version", 2, "format 2, this posecli reads 1; update posecli"),
        ("@version", None, "not a readable file of poses"),
        ("@version", "new", "not a readable file of poses"),
        ("@skeleton3d", np.bytes_("coco17"), "expected 3D skeleton h36m17, got coco17; write it again"),
        ("@fps", -1.0, r"not a readable file of poses \(walk.mp4: fps is -1.0\)"),
        ("@fps", None, "not a readable file of poses"),
        ("@provenance", "{", "not a readable file of poses"),
        ("@size", 7, "not a readable file of poses"),
        ("times", None, "not a readable file of poses"),
        ("times", 3.0, "not a readable file of poses"),
        ("people", None, "not a readable file of poses"),
        ("people", np.zeros(3), "not a readable file of poses"),
        ("@skeleton3d", 17, "not a readable file of poses"),
        ("people/000000@skeleton2d", np.bytes_("ape5"), "unknown skeleton 'ape5'"),
        ("people/000000@id", 0, "an id is 1 to"),
        ("people/000000/world", np.zeros((2, 17, 2)), r"world: expected \(2, 17, 3\)"),
        ("people/000000/world", np.full((2, 17, 3), np.nan), "not finite"),
        ("people/000000/xyz", "text", "not a readable file of poses"),
    ],
)
def test_files_that_do_not_fit(tmp_path: Path, name: str, value: object, message: str) -> None:
    path = tmp_path / "a.h5"
    posestore.write(path, walk(2))
    changed(path, name, value)
    with pytest.raises(DataError, match=message) as caught:
        posestore.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.h5: no such file"):
        posestore.read(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("poses")
    with pytest.raises(DataError, match="not a readable file of poses"):
        posestore.read(tmp_path / "text.h5")
    with pytest.raises(OutputError, match="there is no folder"):
        posestore.write(tmp_path / "none" / "a.h5", walk(2))


def test_people_of_a_file_are_people(tmp_path: Path) -> None:
    posestore.write(tmp_path / "a.h5", two_people())
    assert all(isinstance(person, Person) for person in posestore.read(tmp_path / "a.h5").people)

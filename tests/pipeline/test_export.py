"""The choice of a format, and the small ones: every number is found again by a reader that is not ours."""

import csv
import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from pipeline import posestore
from pipeline.errors import InputError, OutputError
from pipeline.export import WRITERS, check_export, export
from pipeline.people import ClipPoses
from pipeline.skeleton import H36M17, MPII16
from tests.pipeline.posed import clip, even, two_people, walk

FOR_EVERYBODY = {".h5", ".json", ".csv", ".npz", ".html"}
SCHEMA = json.loads(files("assets").joinpath("poses.schema.json").read_text())


@pytest.mark.parametrize("ending", WRITERS)
def test_every_format_is_chosen_by_its_ending(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"walk{ending}"
    assert export(path, walk(4)) == (path,)
    shouted = tmp_path / f"LOUD{ending.upper()}"
    assert export(shouted, walk(4)) == (shouted,)
    assert abs(shouted.stat().st_size - path.stat().st_size) < 10
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("name", ["walk.fbx", "walk", ".json"])
def test_unknown_endings_are_told_the_known_ones(tmp_path: Path, name: str) -> None:
    for act in (lambda: export(tmp_path / name, walk(2)), lambda: check_export(tmp_path / name)):
        with pytest.raises(InputError, match=r"unknown kind of pose file; .* \.h5, \.json, \.csv, \.npz, \.bvh, \.trc"):
            act()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", WRITERS)
def test_files_that_cannot_be_written(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "none" / f"walk{ending}"
    for act in (lambda: export(path, walk(2)), lambda: check_export(path)):
        with pytest.raises(OutputError, match="there is no folder"):
            act()


def test_a_check_leaves_nothing_behind(tmp_path: Path) -> None:
    check_export(tmp_path / "walk.bvh")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", WRITERS)
def test_a_clip_with_nobody_in_it(tmp_path: Path, ending: str) -> None:
    path, empty = tmp_path / f"a{ending}", clip(times=even(5))
    if ending in FOR_EVERYBODY:
        assert export(path, empty) == (path,)
        return
    with pytest.raises(InputError, match=rf"a\{ending}: nobody was found in walk.mp4, and a \{ending} file is of one"):
        export(path, empty)
    assert not path.exists()


def read_json(path: Path) -> dict:
    """The content, which holds no NaN or infinity and follows the schema."""

    def refuse(word: str) -> None:
        pytest.fail(f"{word} in JSON")

    content = json.loads(path.read_text("ascii"), parse_constant=refuse)
    jsonschema.validate(content, SCHEMA, cls=jsonschema.Draft202012Validator)
    return content


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("poses", [walk(), two_people(), walk(1), clip(times=even(4))])
def test_json_holds_everything(tmp_path: Path, poses: ClipPoses) -> None:
    export(tmp_path / "a.json", poses)
    content = read_json(tmp_path / "a.json")
    for key, truth in {
        "source": "walk.mp4",
        "size_px": [640, 360],
        "fps": 25,
        "frames": poses.frames,
        "focal_px": 734.3,
        "focal_origin": "guess",
        "provenance": poses.provenance,
    }.items():
        assert content[key] == truth
    np.testing.assert_allclose(content["times_s"], poses.times, atol=5.1e-7)
    np.testing.assert_array_equal(content["up"], poses.up)
    assert content["skeleton_3d"]["joints"] == list(H36M17.joints)
    assert content["skeleton_3d"]["parents"][:4] == [None, "pelvis", "r_hip", "r_knee"]
    assert len(content["people"]) == len(poses.people)
    for found, person in zip(content["people"], poses.people, strict=True):
        assert found["id"] == person.id
        assert found["skeleton_2d"]["name"] == "mpii16"
        assert found["frame"] == person.frame.tolist()
        np.testing.assert_allclose(found["time_s"], person.time_s, atol=5.1e-7)
        assert found["filled"] == person.filled.tolist()
        pairs = {"xy_px": person.xy, "score": person.score, "camera_mm": person.xyz, "world_mm": person.world}
        for name, truth in pairs.items():
            np.testing.assert_allclose(found[name], truth, atol=5.1e-4)


def test_names_that_are_not_text_become_text_in_json(tmp_path: Path) -> None:
    export(tmp_path / "a.json", replace(walk(2), source="Spr\u00fcnge \udcff.mp4"))
    assert read_json(tmp_path / "a.json")["source"] == "Spr\u00fcnge ?.mp4"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("fps",), 0),
        (("frames",), None),
        (("focal_origin",), "somewhere"),
        (("extra",), 1),
        (("people", 0, "world_mm", 0), [[0, 0, 0]] * 16),
        (("people", 0, "world_mm", 0, 0), [0, 0]),
        (("people", 0, "score", 0, 0), None),
        (("people", 0, "filled", 0, 0), 1),
        (("people", 0, "id"), 0),
        (("up",), [0, 1]),
    ],
)
def test_the_schema_refuses_what_does_not_fit(tmp_path: Path, path: tuple, value: object) -> None:
    export(tmp_path / "a.json", walk(2))
    content = read_json(tmp_path / "a.json")
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, SCHEMA)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="ascii") as file:
        return list(csv.DictReader(file, strict=True))


def test_csv_has_a_row_for_each_person_and_frame(tmp_path: Path) -> None:
    poses = two_people()
    export(tmp_path / "a.csv", poses)
    rows = read_csv(tmp_path / "a.csv")
    assert len(rows) == 32
    assert list(rows[0])[:6] == ["person", "frame", "time_s", "pelvis_x_mm", "pelvis_y_mm", "pelvis_z_mm"]
    assert list(rows[0])[54:58] == ["r_ankle_u_px", "r_ankle_v_px", "r_ankle_score", "r_ankle_filled"]
    assert len(rows[0]) == 3 + 17 * 3 + 16 * 4
    assert [(int(row["person"]), int(row["frame"])) for row in rows] == [
        (person.id, frame) for person in poses.people for frame in person.frame
    ]
    for row, (person, index) in zip(rows, [(p, i) for p in poses.people for i in range(len(p))], strict=True):
        assert None not in row
        assert None not in row.values()
        assert float(row["time_s"]) == pytest.approx(person.time_s[index], abs=5.1e-7)
        world = [[float(row[f"{joint}_{axis}_mm"]) for axis in "xyz"] for joint in H36M17.joints]
        np.testing.assert_allclose(world, person.world[index], atol=5.1e-4)
        xy = [[float(row[f"{joint}_{axis}_px"]) for axis in "uv"] for joint in MPII16.joints]
        np.testing.assert_allclose(xy, person.xy[index], atol=5.1e-4)
        score = [float(row[f"{joint}_score"]) for joint in MPII16.joints]
        np.testing.assert_allclose(score, person.score[index], atol=5.1e-4)
        assert [row[f"{joint}_filled"] for joint in MPII16.joints] == [str(int(f)) for f in person.filled[index]]


def test_csv_is_as_the_rfc_has_it(tmp_path: Path) -> None:
    (one,) = walk(3).people
    export(tmp_path / "a.csv", replace(walk(3), people=(replace(one, world=one.world * 0 - 1e-5),)))
    content = (tmp_path / "a.csv").read_bytes()
    lines = content.split(b"\r\n")
    assert (len(lines), lines[-1]) == (5, b"")
    assert b"\n" not in b"".join(lines)
    assert len({line.count(b",") for line in lines[:-1]}) == 1
    assert b"-0.000," not in content


def test_csv_of_nobody_is_a_header(tmp_path: Path) -> None:
    export(tmp_path / "a.csv", clip(times=even(5)))
    assert (tmp_path / "a.csv").read_text().startswith("person,frame,time_s,pelvis_x_mm,")
    assert read_csv(tmp_path / "a.csv") == []


@pytest.mark.parametrize("poses", [walk(), two_people(), clip(times=even(4))])
def test_npz_holds_the_arrays(tmp_path: Path, poses: ClipPoses) -> None:
    export(tmp_path / "a.npz", poses)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        content = {name: arrays[name] for name in arrays.files}
    assert len(content) == 12 + 8 * len(poses.people)
    assert (str(content["source"]), str(content["focal_origin"])) == ("walk.mp4", "guess")
    assert (float(content["fps"]), float(content["focal_px"]), int(content["version"])) == (25, 734.3, 1)
    assert json.loads(str(content["provenance"])) == poses.provenance
    assert tuple(content["joints_3d"]) == H36M17.joints
    assert tuple(content["parents_3d"]) == H36M17.parents
    assert content["size"].tolist() == [640, 360]
    np.testing.assert_array_equal(content["times"], poses.times)
    np.testing.assert_array_equal(content["up"], poses.up)
    assert content["ids"].tolist() == [person.id for person in poses.people]
    for person in poses.people:
        assert tuple(content[f"person{person.id}_joints_2d"]) == MPII16.joints
        for name in posestore.ARRAYS:
            found, truth = content[f"person{person.id}_{name}"], getattr(person, name)
            assert found.dtype == truth.dtype
            np.testing.assert_array_equal(found, truth)

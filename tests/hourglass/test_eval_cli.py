"""`posecli eval-hourglass` from end to end with a tiny untrained detector: table, JSON, picture, every complaint."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from hourglass.codec import Codec
from hourglass.data import fingerprint, hold_back, read_photos
from hourglass.evaluate import evaluate_pck
from hourglass.model import HourglassConfig, StackedHourglass
from hourglass.predict import ZOOMS, Detector, save_detector
from pipeline.skeleton import LSP14
from pipeline.weights import file_sha256
from tests.hourglass.photos import people, simple_set, write_lsp, write_lspet

FIGURES = ("pck@0.2", "pckh@0.5", "pckh@0.1")
COUNT = 12


@pytest.fixture
def folder(tmp_path) -> Path:
    """An empty folder for what the program writes."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    torch.manual_seed(0)
    config = HourglassConfig(joints=14, stacks=1, widths=(6, 8, 8), stem_width=4, block="plain", input_size=64)
    save_detector(path, StackedHourglass(config), codec=Codec(), skeleton=LSP14, provenance={})
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return simple_set(tmp_path_factory.mktemp("data") / "lspet", COUNT)


@pytest.fixture
def measured(posecli, weights):
    """Run the command in this process: exit code, output, complaints."""

    def run(spec: object, *words: object) -> tuple[int, str, str]:
        return posecli("eval-hourglass", "--data", spec, "--hourglass", weights, "--device", "cpu", *words)

    return run


def test_table_json_and_picture(measured, data, weights, folder):
    code, out, err = measured(f"lspet:{data}", "--json", folder / "r.json", "--pictures", folder / "worst.png")
    assert (code, err) == (0, "")
    result = json.loads((folder / "r.json").read_text())
    assert set(result) == {"images", "joints", "weights", "data", "protocol", "test", "without_flip_test", *FIGURES}
    assert (result["images"], result["joints"]) == (COUNT, COUNT * 14)
    assert result["weights"] == {"file": "tiny.safetensors", "sha256": file_sha256(weights)}
    assert result["data"] == {"kind": "lspet", "fingerprint": fingerprint(read_photos(f"lspet:{data}"))}
    assert result["test"] == {"flip": True, "zooms": list(ZOOMS)}
    assert all(isinstance(text, str) for text in result["protocol"].values())
    for figures in (result, result["without_flip_test"]):
        assert all(set(figures[name]) == {"limbs", "mean", "per_joint"} for name in FIGURES)
        assert all(list(figures[name]["per_joint"]) == list(LSP14.joints) for name in FIGURES)
    lines = out.splitlines()
    assert lines[0] == f"lspet, {COUNT} images, {COUNT * 14} joints, in percent"
    values = [result[name]["limbs"] for name in FIGURES] + [result["without_flip_test"]["pck@0.2"]["limbs"]]
    assert lines[-2].split() == ["12", "limb", "joints", *(f"{value:.1f}" for value in values)]
    picture = cv2.imread(str(folder / "worst.png"))
    assert picture.shape == (44 + 2 * 224, 4 + 6 * 204, 3)  # twelve photos in two rows
    assert sorted(path.name for path in folder.iterdir()) == ["r.json", "worst.png"]


@pytest.mark.parametrize(("flip", "scale"), [(True, False), (False, True), (False, False)])
def test_the_asked_test_and_none(measured, data, weights, flip, scale):
    words = ["--flip-test" if flip else "--no-flip-test", "--multi-scale" if scale else "--no-multi-scale"]
    report = weights.with_name("r.json")
    code, _, err = measured(f"lspet:{data}", *words, "--json", report)
    assert (code, err) == (0, "")
    result, zooms = json.loads(report.read_text()), ZOOMS if scale else ()
    assert result["test"] == {"flip": flip, "zooms": list(zooms)}
    detector, photos = Detector.load(weights, torch.device("cpu")), read_photos(f"lspet:{data}")
    assert result["pck@0.2"] == evaluate_pck(detector, photos, flip_test=flip, zooms=zooms)
    assert result["without_flip_test"]["pck@0.2"] == evaluate_pck(detector, photos, flip_test=False)


def test_held_back_photos_are_those_of_training(measured, data, folder):
    code, out, _ = measured(f"lspet:{data}", "--held-back", 5, "--seed", 7, "--json", folder / "r.json")
    assert code == 0
    assert out.startswith("lspet, 5 images")
    held = hold_back(read_photos(f"lspet:{data}"), 5, seed=7)[1]
    assert json.loads((folder / "r.json").read_text())["data"]["fingerprint"] == fingerprint(held)


def test_only_visible_joints(measured, tmp_path, folder):
    hidden = np.zeros((4, 14), bool)
    hidden[:, LSP14.index("head_top")] = hidden[0, LSP14.index("r_knee")] = True
    spec = f"lsp:{write_lsp(tmp_path / 'lsp', people(4), hidden)}"
    counts = []
    for words in ([], ["--visible-only"]):
        code, _, err = measured(spec, *words, "--json", folder / "r.json")
        assert (code, err) == (0, "")
        result = json.loads((folder / "r.json").read_text())
        counts.append(result["joints"])
        assert ("head_top" in result["pck@0.2"]["per_joint"]) == (not words)
    assert counts == [4 * 14, 4 * 14 - 5]


def complaint(outcome: tuple[int, str, str]) -> str:
    """The one line on stderr of a run that failed without any result."""
    code, out, err = outcome
    assert (code, out) == (1, "")
    (line,) = err.splitlines()
    assert line.startswith("posecli: ")
    return line.removeprefix("posecli: ")


def test_a_bad_output_is_said_before_anything_else(measured, folder):
    for option, name, message in (
        ("--json", folder / "missing" / "r.json", "there is no folder"),
        ("--json", folder, "is a folder"),
        ("--pictures", folder / "missing" / "p.png", "there is no folder"),
        ("--pictures", folder / "p.jpg", "contact sheets are PNG pictures"),
    ):
        line = complaint(measured("lspet:/there/is/no/such/set", option, name))
        assert line.startswith(f"{name}: {message}")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("lspet", "lspet: expected KIND:PATH with KIND one of lsp, lspet, "),
        ("lspet:{folder}/gone", "{folder}/gone: no such folder"),
        ("lspet:{folder}", "{folder}: expected joints.mat and images/"),
    ],
)
def test_a_set_that_is_none(measured, folder, spec, message):
    words = ["--json", folder / "r.json", "--pictures", folder / "p.png"]
    assert message.format(folder=folder) in complaint(measured(spec.format(folder=folder), *words))
    assert list(folder.iterdir()) == []


def test_nothing_labelled(measured, tmp_path):
    spec = f"lspet:{write_lspet(tmp_path / 'set', people(3), np.zeros((3, 14), bool))}"
    assert complaint(measured(spec)) == "lspet: labels no joint that the detector finds; measure on another set"


def test_photos_that_turn_out_damaged(measured, tmp_path):
    path = simple_set(tmp_path / "set", 3)
    content = bytearray((path / "images" / "im00002.jpg").read_bytes())
    content[content.index(b"\xff\xc0") + 4] = 13  # bits of a sample: the size can be read, the pixels cannot
    (path / "images" / "im00002.jpg").write_bytes(content)
    line = complaint(measured(f"lspet:{path}"))
    assert line.startswith(f"more than 5% of 3 photos cannot be read, such as {path}/images/im00002.jpg: missing or")

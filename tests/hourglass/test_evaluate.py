"""The measure of a detector: one that knows the truth gets everything, one that is off gets nothing."""

import math
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from hourglass import evaluate
from hourglass.data import PhotoSet, read_photos
from hourglass.evaluate import evaluate_pck, predict_photos, table
from hourglass.metrics import torso_length
from pipeline.crop import region_of
from tests.hourglass.photos import people, write_lspet


@dataclass
class Oracle:
    """A detector that knows which photos it will be shown, and answers with these joints (N, 14, 2)."""

    photos: PhotoSet
    answer: np.ndarray
    input_size: int = 48
    batches: list[int] = field(default_factory=list)
    flip_tests: list[bool] = field(default_factory=list)

    def crops(self, crops: np.ndarray, *, flip_test: bool) -> tuple[np.ndarray, np.ndarray]:
        assert crops.shape[1:] == (self.input_size, self.input_size, 3)
        assert crops.any(axis=(1, 2, 3)).all()  # somebody is in each of them
        shown = np.flatnonzero(self.photos.labelled.any(1))[sum(self.batches) :][: len(crops)]
        self.batches.append(len(crops))
        self.flip_tests.append(flip_test)
        regions = [region_of(self.photos.xy[row][self.photos.labelled[row]]) for row in shown]
        xy = [region.to_crop(self.answer[row], self.input_size) for row, region in zip(shown, regions, strict=True)]
        return np.stack(xy), np.ones((len(crops), 14))


def truthful(photos: PhotoSet) -> Oracle:
    return Oracle(photos, photos.xy)


def off_by(photos: PhotoSet, torsos: float) -> Oracle:
    """One that is wrong by so many torso lengths to the right."""
    torso = torso_length(photos.xy, photos.labelled, photos.skeleton)
    return Oracle(photos, photos.xy + torsos * torso[:, None, None] * (1, 0))


@pytest.fixture
def photos(tmp_path) -> PhotoSet:
    labelled = np.ones((5, 14), bool)
    labelled[1, [0, 13]] = False
    return read_photos(f"lspet:{write_lspet(tmp_path / 'set', people(5), labelled)}")


def test_the_way_from_the_photo_to_the_crop_and_back(photos):
    found = predict_photos(truthful(photos), photos, flip_test=False)
    np.testing.assert_allclose(found, photos.xy, atol=1e-3)


def test_batches_cover_every_photo_once(photos, monkeypatch):
    monkeypatch.setattr(evaluate, "BATCH", 2)
    oracle = truthful(photos)
    np.testing.assert_allclose(predict_photos(oracle, photos, flip_test=True), photos.xy, atol=1e-3)
    assert oracle.batches == [2, 2, 1]
    assert oracle.flip_tests == [True] * 3


@pytest.mark.parametrize(("off", "percent"), [(0.0, 100.0), (0.19, 100.0), (-0.19, 100.0), (0.21, 0.0), (-0.21, 0.0)])
def test_truth_gets_everything_and_beyond_the_threshold_nothing(photos, off, percent):
    result = evaluate_pck(off_by(photos, off), photos, flip_test=False)
    assert result["limbs"] == result["mean"] == percent
    assert list(result["per_joint"]) == list(photos.skeleton.joints)
    assert set(result["per_joint"].values()) == {percent}


def test_the_threshold_is_an_option(photos):
    assert evaluate_pck(off_by(photos, 0.21), photos, flip_test=False, threshold=0.22)["mean"] == 100
    assert evaluate_pck(off_by(photos, 0.06), photos, flip_test=False, threshold=0.05)["mean"] == 0


def test_joints_without_a_label_and_photos_without_a_torso_do_not_count(photos):
    labelled = photos.labelled.copy()
    labelled[0, photos.skeleton.indices(("l_shoulder", "r_shoulder"))] = False
    some = replace(photos, labelled=labelled)
    answer = photos.xy.copy()
    answer[0] += 1000  # without a torso there is no scale to judge by
    answer[1, [0, 13]] += 1000  # without a label there is no truth
    assert evaluate_pck(Oracle(some, answer), some, flip_test=False)["mean"] == 100
    answer[2, 13] += 1000
    result = evaluate_pck(Oracle(some, answer), some, flip_test=False)
    assert result["per_joint"]["head_top"] == pytest.approx(100 * 2 / 3)  # photos 2, 3 and 4 count


def test_a_photo_without_any_label(photos):
    labelled = photos.labelled.copy()
    labelled[2] = False
    some = replace(photos, labelled=labelled)
    assert np.isnan(predict_photos(truthful(some), some, flip_test=False)).any((1, 2)).tolist() == [
        False, False, True, False, False,
    ]  # fmt: skip
    assert evaluate_pck(truthful(some), some, flip_test=False)["mean"] == 100


def test_no_photos(photos):
    none = photos.select(np.array([], int))
    result = evaluate_pck(truthful(none), none, flip_test=False)
    assert math.isnan(result["mean"])
    assert result["per_joint"] == {}


def test_table(photos):
    scores = {"per_joint": {"r_ankle": 50.04, "head_top": 100.0}, "limbs": 50.04, "mean": 75.02}
    assert table({"images": 5, "pck@0.2": scores}).splitlines() == [
        "PCK@0.2 of the torso's diagonal, person-centric, 5 images, percent",
        "r_ankle            50.0",
        "head_top          100.0",
        "12 limb joints     50.0",
        "all joints         75.0",
    ]
    lines = table({"images": 5, "pck@0.2": evaluate_pck(truthful(photos), photos, flip_test=False)}).splitlines()
    assert len(lines) == 1 + 14 + 2
    assert all(line.endswith("  100.0") for line in lines[1:])

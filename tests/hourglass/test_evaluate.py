"""The measure of a detector: one that knows the truth gets everything, one that is off gets nothing."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hourglass import evaluate
from hourglass.codec import Codec
from hourglass.data import PhotoSet, fingerprint, read_photos
from hourglass.evaluate import evaluate_pck, head_size, measure, predict, predict_photos, table
from hourglass.metrics import torso_length
from hourglass.model import HourglassConfig, StackedHourglass
from hourglass.predict import Detector
from pipeline.crop import Region
from pipeline.errors import DataError
from pipeline.skeleton import COCO17, LSP14, MPII16, Skeleton
from tests.hourglass.photos import people, write_lspet


@dataclass
class Oracle:
    """A detector that knows the photos: it answers each region with what `answer` (N, J, 2) has for it, or with
    `plain` where nothing is averaged.

    Its maps are just (row, number of the view), so that the mean over views tells how many there were.
    """

    photos: PhotoSet
    answer: np.ndarray
    plain: np.ndarray | None = None
    skeleton: Skeleton = LSP14
    input_size: int = 48
    batches: list[int] = field(default_factory=list)
    tests: list[tuple[bool, tuple[float, ...]]] = field(default_factory=list)

    def cut(self, image: np.ndarray, region: Region, *, zooms: Sequence[float] = ()) -> np.ndarray:
        assert region.cut(image, self.input_size).any()  # somebody is in it
        return np.array([region.x, region.y, region.side])

    def views(self, crops: np.ndarray, *, flip_test: bool, zooms: Sequence[float]) -> np.ndarray:
        self.batches.append(len(crops))
        self.tests.append((flip_test, tuple(zooms)))
        rows = [self._row(Region(*crop.tolist())) for crop in crops]
        count = (1 + flip_test) * (1 + len(zooms))
        return np.array([[(row, view) for row in rows] for view in range(count)], np.float64)

    def joints(self, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows, view = maps[:, 0].astype(int).tolist(), maps[:, 1].max()
        answer = self.plain if view == 0 and self.plain is not None else self.answer
        xy = [self.photos.region(row).to_crop(answer[row], self.input_size) for row in rows]
        return np.stack(xy), np.ones((len(rows), len(self.skeleton)))

    def _row(self, region: Region) -> int:
        rows = np.flatnonzero(self.photos.labelled.any(1)).tolist()
        return next(row for row in rows if self.photos.region(row) == region)


def truthful(photos: PhotoSet) -> Oracle:
    return Oracle(photos, photos.xy, skeleton=photos.skeleton)


def off_by(photos: PhotoSet, torsos: float) -> Oracle:
    """One that is wrong by so many torso lengths to the right."""
    torso = torso_length(photos.xy, photos.labelled, photos.skeleton)
    return Oracle(photos, photos.xy + torsos * torso[:, None, None] * (1, 0), skeleton=photos.skeleton)


@pytest.fixture
def photos(tmp_path) -> PhotoSet:
    labelled = np.ones((5, 14), bool)
    labelled[1, [0, 13]] = False
    return read_photos(f"lspet:{write_lspet(tmp_path / 'set', people(5), labelled)}")


def as_mpii(photos: PhotoSet, *, head: float = np.nan) -> PhotoSet:
    """The same photos with MPII's joints, labelled where LSP's are, and heads of that size."""
    mpii = photos.to_skeleton(MPII16)
    xy = mpii.xy.copy()
    xy[:, MPII16.index("upper_neck")] = photos.xy[:, LSP14.index("neck")] - (0, 2)
    xy[:, MPII16.index("head_top")] = photos.xy[:, LSP14.index("neck")] - (0, 12)
    labelled = mpii.labelled.copy()
    labelled[:, MPII16.indices(("upper_neck", "head_top"))] = True
    return replace(mpii, name="mpii", xy=xy, labelled=labelled, visible=labelled, head=np.full(len(photos), head))


# Where the joints are looked for


def test_the_way_from_the_photo_to_the_crop_and_back(photos):
    found = predict_photos(truthful(photos), photos, flip_test=False)
    np.testing.assert_allclose(found, photos.xy, atol=1e-3)


def test_batches_cover_every_photo_once(photos, monkeypatch):
    monkeypatch.setattr(evaluate, "BATCH", 2)
    oracle = truthful(photos)
    np.testing.assert_allclose(predict_photos(oracle, photos, flip_test=True, zooms=(0.8,)), photos.xy, atol=1e-3)
    assert oracle.batches == [2, 2, 1]
    assert oracle.tests == [(True, (0.8,))] * 3


def untrained() -> Detector:
    torch.manual_seed(0)
    config = HourglassConfig(joints=14, stacks=1, widths=(6, 8, 8), stem_width=4, block="plain", input_size=64)
    return Detector(StackedHourglass(config).eval(), Codec(), LSP14, torch.device("cpu"), {})


def test_views_of_a_region_by_hand(photos):
    """Half the side: four pixels of the closer look are one of the whole's, which has only its middle from there."""
    detector, image, region = untrained(), photos.read(0), photos.region(0)
    crops = detector.cut(image, region, zooms=(0.5,))
    np.testing.assert_array_equal(crops[0], region.cut(image, 64))
    np.testing.assert_array_equal(crops[1], Region(region.x, region.y, 0.5 * region.side).cut(image, 64))
    views = detector.views(crops[None], flip_test=True, zooms=(0.5,))
    assert views.shape == (4, 1, 14, 16, 16)
    whole, closer = (detector.views(crop[None, None], flip_test=True) for crop in crops)
    np.testing.assert_allclose(views[::2], whole, atol=1e-6)
    expected = whole.copy()
    expected[..., 4:12, 4:12] = closer.reshape(2, 1, 14, 8, 2, 8, 2).sum((-3, -1))
    np.testing.assert_allclose(views[1::2], expected, atol=1e-6)
    assert not np.array_equal(views[1::2], views[::2])


def test_two_turns_have_all_views(photos):
    """The middle of a closer look is the same; around it, each turn has only the whole as it saw it itself."""
    detector, image, region = untrained(), photos.read(0), photos.region(0)
    crops = detector.cut(image, region, zooms=(0.5,))[None]
    whole, closer, mirrored, closer_mirrored = detector.views(crops, flip_test=True, zooms=(0.5,))
    middle = (..., slice(4, 12), slice(4, 12))
    for turn, expected in ((0, (whole, closer_mirrored)), (1, (mirrored, closer)), (2, (whole, closer_mirrored))):
        views = detector.views(crops, flip_test=True, zooms=(0.5,), turn=turn)
        assert views.shape == (2, 1, 14, 16, 16)
        np.testing.assert_allclose(views[0], expected[0], atol=1e-6)
        np.testing.assert_allclose(views[1][middle], expected[1][middle], atol=1e-6)
        np.testing.assert_array_equal(views[1][..., :4, :], views[0][..., :4, :])


@pytest.mark.parametrize("flip_test", [False, True])
@pytest.mark.parametrize("zooms", [(), (0.84,), (0.9, 0.7)])
def test_a_batch_of_photos_gives_what_each_gives_alone(photos, flip_test, zooms):
    detector = untrained()
    found = predict(detector, photos, flip_test=flip_test, zooms=zooms)
    for row in range(len(photos)):
        image, region = photos.read(row), photos.region(row)
        alone, _ = detector.regions(image, [region], flip_test=flip_test, zooms=zooms)
        np.testing.assert_allclose(found.xy[row], alone[0], atol=2e-2)
        plain, _ = detector.regions(image, [region])
        np.testing.assert_allclose(found.plain[row], plain[0], atol=2e-2)
    averaged = flip_test or zooms
    assert (np.abs(found.xy - found.plain).max() > 1) == bool(averaged)  # a random network's views disagree


def test_the_square_of_the_set_is_used(photos):
    given = replace(photos, regions=np.tile([30.0, 33.0, 50.0], (5, 1)) + np.arange(5)[:, None])
    np.testing.assert_allclose(predict_photos(truthful(given), given, flip_test=False), given.xy, atol=1e-3)
    result, _ = measure(truthful(given), given, flip_test=False)
    assert result["protocol"]["person"] == "each seen in the square that the set gives"


# Photos and joints that cannot be measured


def test_a_photo_without_any_label(photos):
    labelled = photos.labelled.copy()
    labelled[2] = False
    some = replace(photos, labelled=labelled)
    assert np.isnan(predict_photos(truthful(some), some, flip_test=False)).any((1, 2)).tolist() == [
        False, False, True, False, False,
    ]  # fmt: skip
    assert evaluate_pck(truthful(some), some, flip_test=False)["mean"] == 100
    assert measure(truthful(some), some, flip_test=False)[0]["images"] == 4


def many(photos: PhotoSet, times: int) -> PhotoSet:
    """The photos over and over, each time a pixel farther left."""
    rows = np.tile(np.arange(len(photos)), times)
    shift = np.repeat(np.arange(times), len(photos)) / times
    more = photos.select(rows)
    return replace(more, xy=(more.xy - shift[:, None, None] * (1, 0)).astype(np.float32))


def without_pictures(photos: PhotoSet, rows: Sequence[int]) -> PhotoSet:
    files = [path.with_name("gone.jpg") if row in rows else path for row, path in enumerate(photos.files)]
    return replace(photos, files=files)


def test_unreadable_photos_are_left_out_with_one_warning(photos, caplog):
    some = without_pictures(many(photos, 8), (3, 7))  # 5 % of 40
    oracle = truthful(some)
    result, found = measure(oracle, some, flip_test=True)
    assert np.flatnonzero(~found.given.any(1)).tolist() == [3, 7]
    assert np.isnan(found.xy[[3, 7]]).all()
    assert result["images"] == sum(oracle.batches) == 38
    assert result["pck@0.2"]["mean"] == 100  # they are no misses
    (record,) = caplog.records
    path = some.files[3]
    assert record.getMessage().startswith(f"2 of 40 photos cannot be read and are left out, such as {path}: missing")


def test_too_many_unreadable_photos(photos):
    some = without_pictures(many(photos, 8), (3, 7, 8))
    with pytest.raises(DataError, match=r"more than 5% of 40 photos cannot be read, such as .*gone\.jpg: missing or"):
        measure(truthful(some), some, flip_test=False)
    assert evaluate_pck(truthful(some), some, flip_test=False)["mean"] == 100  # training goes on


def test_a_batch_of_unreadable_photos(photos, monkeypatch):
    monkeypatch.setattr(evaluate, "BATCH", 2)
    some = without_pictures(photos, (0, 1))
    oracle = truthful(some)
    assert np.isfinite(predict_photos(oracle, some, flip_test=False)).all((1, 2)).tolist() == [False] * 2 + [True] * 3
    assert oracle.batches == [2, 1]


def test_no_photos(photos):
    none = photos.select(np.array([], int))
    result = evaluate_pck(truthful(none), none, flip_test=False)
    assert math.isnan(result["mean"])
    assert result["per_joint"] == {}
    with pytest.raises(DataError, match="lspet: no photos to measure on; check the folder of the set"):
        measure(truthful(none), none, flip_test=False)


def test_nothing_labelled(photos):
    none = replace(photos, labelled=np.zeros((5, 14), bool))
    with pytest.raises(DataError, match="lspet: labels no joint that the detector finds; measure on another set"):
        measure(truthful(none), none, flip_test=False)
    hidden = replace(photos, visible=np.zeros((5, 14), bool))
    with pytest.raises(DataError, match="lspet: labels no visible joint that the detector finds"):
        measure(truthful(hidden), hidden, flip_test=False, visible_only=True)


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


# The figures


@pytest.mark.parametrize(("off", "percent"), [(0.0, 100.0), (0.19, 100.0), (-0.19, 100.0), (0.21, 0.0), (-0.21, 0.0)])
def test_truth_gets_everything_and_beyond_the_threshold_nothing(photos, off, percent):
    result = evaluate_pck(off_by(photos, off), photos, flip_test=False)
    assert result["limbs"] == result["mean"] == percent
    assert list(result["per_joint"]) == list(photos.skeleton.joints)
    assert set(result["per_joint"].values()) == {percent}


def test_the_threshold_is_an_option(photos):
    assert evaluate_pck(off_by(photos, 0.21), photos, flip_test=False, threshold=0.22)["mean"] == 100
    assert evaluate_pck(off_by(photos, 0.06), photos, flip_test=False, threshold=0.05)["mean"] == 0


def test_the_set_s_heads_are_preferred_to_necks(photos):
    necks = head_size(photos)
    expected = np.linalg.norm(photos.xy[:, LSP14.index("neck")] - photos.xy[:, LSP14.index("head_top")], axis=1)
    assert np.isnan(necks).tolist() == [False, True, False, False, False]  # photo 1 has no head top
    np.testing.assert_allclose(necks[[0, 2, 3, 4]], expected[[0, 2, 3, 4]])
    own = np.array([np.nan, 8.0, 9.0, 10.0, 11.0])  # two measures in one figure would make it neither
    np.testing.assert_array_equal(head_size(replace(photos, head=own)), own)


@pytest.mark.parametrize("heads", [0.09, 0.11, 0.49, 0.51])
def test_pckh_with_the_boxes_of_the_set(photos, heads):
    some = replace(photos, head=np.array([8.0, 9.0, np.nan, 10.0, 11.0]))
    oracle = Oracle(some, some.xy + (heads * np.nan_to_num(some.head))[:, None, None] * (0, 1))
    oracle.answer[2] += 1000  # without a head there is no scale to judge by
    result, _ = measure(oracle, some, flip_test=False)
    assert result["pckh@0.5"]["mean"] == result["pckh@0.5"]["limbs"] == (100 if heads < 0.5 else 0)
    assert result["pckh@0.1"]["mean"] == result["pckh@0.1"]["limbs"] == (100 if heads < 0.1 else 0)
    assert set(result["pckh@0.5"]["per_joint"].values()) == {100 if heads < 0.5 else 0}
    assert "as the set gives it" in result["protocol"]["pckh"]
    assert "; 4 of 5 people have one; mean: the share of all counted joints" in result["protocol"]["pckh"]


def test_mean_of_pckh_leaves_out_pelvis_and_thorax_and_that_of_pck_does_not(photos):
    mpii = as_mpii(photos, head=10.0)
    answer = mpii.xy.astype(float)
    answer[:, MPII16.indices(("pelvis", "thorax"))] += 1000
    answer[0, MPII16.index("r_ankle")] += 1000
    result, _ = measure(Oracle(mpii, answer, skeleton=MPII16), mpii, flip_test=False)
    assert result["pckh@0.5"]["per_joint"]["pelvis"] == 0
    assert result["pckh@0.5"]["mean"] == pytest.approx(100 * 68 / 69)  # photo 1 has no right ankle
    assert result["pck@0.2"]["mean"] == pytest.approx(100 * (13 + 3 / 4) / 16)
    assert result["protocol"]["pckh"].endswith("mean: the share of all counted joints but pelvis and thorax")
    assert result["protocol"]["pck"].endswith("mean: of the percentages of all 16 joints, with pelvis and thorax")


def test_a_skeleton_without_a_head_has_no_pckh(photos):
    coco = photos.to_skeleton(COCO17)
    result, _ = measure(truthful(coco), coco, flip_test=False)
    assert result["pckh@0.5"] is result["pckh@0.1"] is result["protocol"]["pckh"] is None
    assert result["without_flip_test"]["pckh@0.5"] is None
    assert len(result["pck@0.2"]["per_joint"]) == 12  # the set labels no face
    assert "PCKh@" not in table(result)
    assert "pckh    left out, as no size of a head is known" in table(result)


def test_only_visible_joints(photos):
    visible = photos.labelled.copy()
    visible[:3, LSP14.index("r_knee")] = False
    some = replace(photos, visible=visible)
    answer = photos.xy.astype(float)
    answer[:4, LSP14.index("r_knee")] += 1000
    everything, _ = measure(Oracle(some, answer), some, flip_test=False)
    seen, _ = measure(Oracle(some, answer), some, flip_test=False, visible_only=True)
    assert everything["pck@0.2"]["per_joint"]["r_knee"] == 20
    assert seen["pck@0.2"]["per_joint"]["r_knee"] == 50
    assert everything["joints"] - seen["joints"] == 3
    assert everything["protocol"]["joints"] == "all that are labelled, hidden ones too"
    assert seen["protocol"]["joints"] == "those labelled visible"


def test_a_detector_of_another_skeleton_is_measured_on_the_set_s_joints(photos):
    mpii = as_mpii(photos)
    on_mpii, found = measure(Oracle(mpii, photos.xy), mpii, flip_test=False)  # finds the joints of LSP
    missing = MPII16.index("upper_neck")
    assert np.flatnonzero(~found.given.any(0)).tolist() == [missing]
    assert set(on_mpii["pck@0.2"]["per_joint"]) == set(MPII16.joints) - {"upper_neck"}
    assert "the detector does not know upper_neck" in on_mpii["protocol"]["joints"]
    assert on_mpii["pck@0.2"]["limbs"] == 100
    assert on_mpii["pck@0.2"]["per_joint"]["thorax"] == 100  # LSP's neck
    on_lsp, _ = measure(Oracle(photos, mpii.xy, skeleton=MPII16), photos, flip_test=False)
    assert list(on_lsp["pck@0.2"]["per_joint"]) == list(LSP14.joints)
    assert on_lsp["pck@0.2"]["limbs"] == on_lsp["pck@0.2"]["per_joint"]["neck"] == 100


# The report


def test_report(photos):
    plain = photos.xy + 1000.0
    result, found = measure(Oracle(photos, photos.xy, plain), photos, flip_test=True, zooms=(0.84,))
    assert set(result) == {
        "images", "joints", "data", "protocol", "test", "pck@0.2", "pckh@0.5", "pckh@0.1", "without_flip_test",
    }  # fmt: skip
    assert set(result["without_flip_test"]) == {"pck@0.2", "pckh@0.5", "pckh@0.1"}
    assert (result["images"], result["joints"]) == (5, 5 * 14 - 2)
    assert result["data"] == {"kind": "lspet", "fingerprint": fingerprint(photos)}
    assert result["test"] == {"flip": True, "zooms": [0.84]}
    for name in ("pck@0.2", "pckh@0.5", "pckh@0.1"):
        assert set(result[name]) == {"limbs", "mean", "per_joint"}
        assert result[name]["mean"] == 100
        assert result["without_flip_test"][name]["mean"] == 0
    np.testing.assert_allclose(found.xy, photos.xy, atol=1e-3)
    np.testing.assert_allclose(found.plain, plain, atol=1e-3)
    assert json.loads(json.dumps(result)) == result


def test_without_a_test_both_are_the_same(photos):
    result, _ = measure(off_by(photos, 0.15), photos, flip_test=False)
    assert result["without_flip_test"] == {name: result[name] for name in ("pck@0.2", "pckh@0.5", "pckh@0.1")}


def test_what_cannot_be_told_is_null_not_nan(photos):
    labelled = np.zeros((5, 14), bool)
    labelled[:, LSP14.indices(("neck", "head_top"))] = True
    some = replace(photos, labelled=labelled, visible=labelled)
    result, _ = measure(truthful(some), some, flip_test=False)
    assert result["pck@0.2"] == {"limbs": None, "mean": None, "per_joint": {}}  # nobody has a torso
    assert result["pckh@0.5"] == {"limbs": None, "mean": 100, "per_joint": {"neck": 100, "head_top": 100}}
    assert "NaN" not in json.dumps(result)
    lines = table(result).splitlines()
    assert lines[-4] == "head top                 -     100.0     100.0              -"
    assert lines[-1] == "mean                     -     100.0     100.0              -"


def test_table(photos):
    result, _ = measure(truthful(photos), photos, flip_test=True, zooms=(0.84,))
    result["pck@0.2"]["per_joint"]["r_ankle"] = 5.04
    lines = table(result).splitlines()
    assert lines[0] == "lspet, 5 images, 68 joints, in percent"
    assert lines[1] == "person  each seen in a square around the labelled joints, 1.25 times as large"
    assert "\ntest    mean over the photo as it is and its mirror image, each at 2 scales; plain:" in "\n".join(lines)
    start = lines.index("") + 1
    assert lines[start : start + 3] == [
        "                   PCK@0.2  PCKh@0.5  PCKh@0.1  PCK@0.2 plain",
        "-------------------------------------------------------------",
        "right ankle            5.0     100.0     100.0          100.0",
    ]
    assert lines[-3:] == [
        "-------------------------------------------------------------",
        "12 limb joints       100.0     100.0     100.0          100.0",
        "mean                 100.0     100.0     100.0          100.0",
    ]
    assert len(lines[start:]) == 1 + 1 + 14 + 1 + 2
    assert max(map(len, lines)) <= 100


def test_table_of_a_plain_test(photos):
    result, _ = measure(truthful(photos), photos, flip_test=False)
    assert "test    the photo as it is" in table(result).splitlines()
    result, _ = measure(truthful(photos), photos, flip_test=True)
    assert "test    mean over the photo as it is and its mirror image; plain: only" in table(result)
    result, _ = measure(truthful(photos), photos, flip_test=False, zooms=(0.9, 0.8))
    assert "test    mean over the photo as it is, at 3 scales; plain: only" in table(result)


def test_figures_of_real_photos_are_those_of_each_photo_alone(data_folder: Path):
    """The whole way on real photos, against a second formula that takes one photo and one joint at a time."""
    from pipeline.weights import find_weights, names

    photos = read_photos(f"lsp:{data_folder / 'lsp_train'}")
    photos = photos.select(np.arange(0, len(photos), 100))
    detector = Detector.load(find_weights("hourglass", names("hourglass")[0]), torch.device("cpu"))
    result, _ = measure(detector, photos, flip_test=True)
    hits: dict[str, list[bool]] = {joint: [] for joint in LSP14.joints}
    for row in range(len(photos)):
        xy, _ = detector.regions(photos.read(row), [photos.region(row)], flip_test=True)
        torso = torso_length(photos.xy[[row]], photos.labelled[[row]], LSP14)[0]
        for joint, name in enumerate(LSP14.joints):
            if photos.labelled[row, joint] and math.isfinite(torso):
                hits[name].append(math.dist(xy[0, joint], photos.xy[row, joint]) <= 0.2 * torso)
    expected = {joint: 100 * sum(found) / len(found) for joint, found in hits.items()}
    assert result["pck@0.2"]["per_joint"] == pytest.approx(expected)
    assert result["joints"] == sum(map(len, hits.values()))

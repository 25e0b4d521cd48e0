"""Single views against several, on a walker whose place in every view is known."""

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from lifter.metrics import mpjpe
from pipeline import eval_views
from pipeline.clean import CleanTrack2D
from pipeline.eval_views import (
    PairScores,
    ReferenceScores,
    ViewScores,
    Watched,
    build_reference,
    rooted,
    score_pair,
    score_views,
    table,
)
from pipeline.people import ClipPoses
from pipeline.place import CAMERA_UP
from pipeline.run import Poses, camera_of
from pipeline.skeleton import H36M17, LIMB_JOINTS
from tests.pipeline.clips import make_clip, numbered
from tests.pipeline.posed import even, walker
from tests.pipeline.rig import SIZE, camera, ring, write_qualisys, write_toml

COUNT = 20
FEW = [numbered(index, (64, 48)) for index in range(2)]
LIMBS = H36M17.indices(LIMB_JOINTS)
WORLD = walker(even(COUNT)) - walker(even(COUNT))[:, :1].mean(0) * (1, 1, 0)


def seen_by(views, *, scale: float = 1.0) -> list[Watched]:
    """What views would find that know everything, but a body's size."""
    found = []
    for view in views:
        points = WORLD[:, LIMBS]
        xyz = scale * rooted(points @ view.rotation.T)
        found.append(Watched(view, view.project(points), np.ones(points.shape[:2]), xyz, xyz))
    return found


def test_perfect_views_have_no_error():
    result = score_views(seen_by(ring()))
    assert result["reference"] == pytest.approx(
        {"frames": COUNT, "coverage": 100, "joints": 100, "reprojection_px": 0, "reprojection_all_px": 0}, abs=0.01
    )
    for scores in [*result["views"].values(), result["mean"]]:
        assert (scores["found"], scores["judged"], scores["dropped"]) == (COUNT, COUNT, 0)
        assert max(scores[key] for key in scores if key.endswith(("_mm", "_px"))) < 0.1
    assert list(result["pairs"]) == ["cam20 - cam100", "cam20 - cam180", "cam20 - cam260", *list(result["pairs"])[3:]]
    assert all(pair["pa_mpjpe_mm"] < 1e-6 and pair["world_mm"] < 1e-6 for pair in result["pairs"].values())


def test_errors_by_hand():
    views = ring()
    seen = seen_by(views)
    large, turned = seen_by(views, scale=1.1)[0], seen[1]
    angle = np.radians(20)
    spin = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    turned = replace(turned, xyz=turned.xyz @ spin)
    result = score_views([large, turned, *seen[2:]])
    first, second, *others = result["views"].values()
    body = rooted(WORLD[:, LIMBS])
    assert first["mpjpe_mm"] == pytest.approx(mpjpe(1.1 * body, body), abs=0.1)
    assert first["pa_mpjpe_mm"] < 0.1
    assert second["mpjpe_mm"] > 50
    assert second["pa_mpjpe_mm"] < 0.1
    assert second["mpjpe_true_focal_mm"] < 0.1
    assert others[0]["mpjpe_mm"] < 0.1
    pair = score_pair(large, seen[2])
    assert pair.world_mm == pytest.approx(mpjpe(1.1 * body, body))
    assert pair.pa_mpjpe_mm < 1e-6
    # the mirror image is not as good as the body itself
    mirrored = replace(seen[0], xyz=seen[0].xyz * (-1, 1, 1))
    assert score_pair(mirrored, seen[2]).pa_mpjpe_mm > 30


def test_a_joint_that_one_view_has_wrong_is_told_of_that_view():
    seen = seen_by(ring())
    knee = LIMB_JOINTS.index("l_knee")
    wrong = seen[2].xy.copy()
    wrong[5:15, knee] += 50
    seen[2] = replace(seen[2], xy=wrong)
    result = score_views(seen)
    dropped = [scores["dropped"] for scores in result["views"].values()]
    assert dropped == pytest.approx([0, 0, 100 * 10 / (12 * COUNT), 0])
    assert result["reference"]["joints"] == 100
    np.testing.assert_allclose(build_reference(seen).xyz, WORLD[:, LIMBS], atol=0.1)


def test_frames_without_enough_joints_or_hips_do_not_count():
    seen = seen_by(ring())
    few, hips = [one.score.copy() for one in seen], LIMB_JOINTS.index("l_hip")
    for index, score in enumerate(few):
        score[0, 5:] = 0  # seven and fewer
        score[1, hips] = 0
        score[2, [0, 6, 7, 8]] = 0  # eight with the hips: enough
        seen[index] = replace(seen[index], score=score)
    reference = build_reference(seen)
    np.testing.assert_array_equal(reference.counts, [False, False, *[True] * (COUNT - 2)])
    away = np.full_like(seen[0].xyz, np.nan)
    away[10:] = seen[0].xyz[10:]
    gone = replace(seen[0], xyz=away, xyz_true=away, xy=np.where(np.isnan(away[..., :2]), np.nan, seen[0].xy))
    result = score_views([gone, *seen[1:]])
    assert result["reference"]["coverage"] == pytest.approx(100 * (COUNT - 2) / COUNT)
    first, second, *_ = result["views"].values()
    assert (first["found"], first["judged"]) == (10, 10)
    assert (second["found"], second["judged"]) == (COUNT, COUNT - 2)
    assert score_pair(gone, seen[1]).frames == 10


def test_views_of_nobody_have_no_figures():
    seen = [
        replace(one, xy=one.xy * np.nan, score=one.score * np.nan, xyz=one.xyz * np.nan, xyz_true=one.xyz * np.nan)
        for one in seen_by(ring())
    ]
    result = score_views(seen)
    assert result["reference"]["coverage"] == 0
    assert np.isnan(result["mean"]["mpjpe_mm"])
    assert "-" in table(result).splitlines()[4].split()


def test_the_table_has_every_figure():
    result = score_views(seen_by(ring()))
    assert list(result["reference"]) == [field.name for field in fields(ReferenceScores)]
    assert all(list(scores) == [field.name for field in fields(ViewScores)] for scores in result["views"].values())
    assert all(list(pair) == [field.name for field in fields(PairScores)] for pair in result["pairs"].values())
    lines = table(result).splitlines()
    assert "no independent truth" in " ".join(lines)
    for name, scores in [*result["views"].items(), ("mean", result["mean"])]:
        (row,) = [line.split() for line in lines if line.startswith(f"{name} ") and " - " not in line]
        assert [float(cell) for cell in row[1:]] == pytest.approx(list(scores.values()), abs=0.051)


# The command


@pytest.mark.parametrize("write", [write_toml, write_qualisys])
def test_the_command_end_to_end(posecli, tmp_path, monkeypatch, write):
    """The true 2D of every view in, through a shipped lifter."""
    views = [camera(turn, lens=np.zeros(5)) for turn in (10, 80, 170, 250)]
    clips = [tmp_path / f"{view.name}.mp4" for view in views]
    times = even(COUNT)

    def found(clip: Path, models) -> list[Poses]:
        view = views[clips.index(clip)]
        info = ClipPoses(clip.name, SIZE, 25.0, COUNT, times, 900.0, "guess", CAMERA_UP)
        sure = np.ones((COUNT, 17))
        track = CleanTrack2D(H36M17, np.arange(COUNT), times, view.project(WORLD), sure, SIZE, sure < 0)
        return [Poses(info, track, models.lifter.lift(track, camera_of(info)), (0.0, 0.0))]

    for clip in clips:
        make_clip(clip, images=[numbered(0, SIZE)] * COUNT)
    monkeypatch.setattr(eval_views, "find_poses", found)
    calibration = write(tmp_path / "calibration", views)
    result = posecli("eval-views", calibration, *clips, "--json", tmp_path / "r.json")
    assert result.code == 0, result.err
    figures = json.loads((tmp_path / "r.json").read_text())
    assert result.out.strip() == table(figures).strip()
    assert figures["reference"]["coverage"] == 100
    assert figures["reference"]["reprojection_px"] < 0.1
    assert set(figures["views"]) == {view.name for view in views}
    assert 1 < figures["mean"]["pa_mpjpe_true_focal_mm"] < 90
    assert figures["mean"]["mpjpe_true_focal_mm"] < 150
    assert figures["mean"]["mpjpe_mm"] != figures["mean"]["mpjpe_true_focal_mm"]


def test_clips_without_anybody(posecli, tmp_path):
    clips = [make_clip(tmp_path / f"{name}.mp4", images=FEW) for name in "ab"]
    size = _size(clips[0])
    calibration = write_toml(tmp_path / "c.toml", [replace(view, size=size) for view in ring(2)])
    result = posecli("eval-views", calibration, *clips)
    assert result.code == 0, result.err
    assert "0 % of" in result.out


def _size(clip: Path) -> tuple[int, int]:
    import av

    with av.open(str(clip)) as container:
        return container.streams.video[0].width, container.streams.video[0].height


def test_what_cannot_be_is_one_line(posecli, tmp_path):
    calibration = write_toml(tmp_path / "c.toml", ring(2))
    text = tmp_path / "notes.toml"
    text.write_text("title = 'holiday'\n")
    clip = make_clip(tmp_path / "a.mp4", images=[*FEW, FEW[0]])
    shorter = make_clip(tmp_path / "b.mp4", images=FEW)
    fits = write_toml(tmp_path / "fits.toml", [replace(view, size=_size(clip)) for view in ring(2)])
    tall = write_toml(tmp_path / "tall.toml", [replace(view, size=(100, 400)) for view in ring(2)])
    alone = write_toml(tmp_path / "alone.toml", ring(1))
    for words, said in [
        ((tmp_path / "gone.toml", clip, clip), "gone.toml: cannot be read"),
        ((text, clip, clip), "notes.toml: not a calibration"),
        ((calibration, clip), "c.toml: has 2 cameras (cam20, cam164), not 1; give a clip of each"),
        ((alone, clip), "alone.toml: has 1 cameras; 2 to 8 can be compared"),
        ((fits, clip, tmp_path / "gone.mp4"), "gone.mp4"),
        ((tall, clip, clip), "a.mp4: camera cam20 was calibrated with frames of (100, 400)"),
        ((fits, clip, shorter), f"the clips are not synchronised: {clip} has 3 frames, {shorter} has 2;"),
    ]:
        result = posecli("eval-views", *words, "--json", tmp_path / "r.json")
        assert result.code == 1, said
        assert said in result.err
        assert result.err.startswith("posecli: ")
        assert result.err.count("\n") == 1
        assert not (tmp_path / "r.json").exists()

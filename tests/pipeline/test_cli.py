"""The command line from end to end: what it writes, what it says, and what it leaves behind when something is wrong."""

import json
import os
import subprocess
import sys
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
from scipy.io import savemat

from pipeline import posestore
from pipeline.image import write_image
from pipeline.weights import assets_folder, find_weights, names
from tests.pipeline.clips import atoms, contents, make_clip, make_sound

DEMO = assets_folder() / "demo.mp4"


def textured(count: int, size: tuple[int, int]) -> list[np.ndarray]:
    """Pictures without a person."""
    rng = np.random.default_rng(0)
    return list(rng.integers(90, 110, (count, size[1], size[0], 3), dtype=np.uint8))


def left_behind(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# The main job


@pytest.fixture(scope="module")
def demo_output(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    out = tmp_path_factory.mktemp("demo") / "out.mp4"
    command = [sys.executable, "-m", "pipeline.cli", "video", str(DEMO), "--out", str(out)]
    return out, subprocess.run(command, capture_output=True, text=True, check=False)


def test_demo_gives_a_video_that_browsers_play(demo_output):
    out, run = demo_output
    assert run.returncode == 0, run.stderr
    with av.open(str(out)) as file:
        stream = file.streams.video[0]
        assert stream.codec_context.name in ("h264", "libx264")
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.width % 2 == stream.height % 2 == 0
        assert stream.width > 1280
    assert atoms(out).index("moov") < atoms(out).index("mdat")


def test_demo_keeps_every_frame_and_time(demo_output):
    out, _ = demo_output
    assert contents(out, times_only=True).times == contents(DEMO, times_only=True).times


def test_demo_says_what_was_done(demo_output):
    out, run = demo_output
    (line,) = run.stdout.splitlines()
    words = line.split()
    assert line.startswith("180 frames, ")
    assert int(words[2]) >= 170  # the person is in all of them
    assert line.endswith(f"frames/s -> {out}")
    for part in ("find:", "draw:", "/360 [", "frame/s]"):  # the progress bar, over both readings of the clip
        assert part in run.stderr


def test_demo_has_a_skeleton_on_the_left_and_one_on_the_right(demo_output):
    out, _ = demo_output
    before, after = contents(DEMO).images[90].astype(int), contents(out).images[90].astype(int)
    height, width = before.shape[:2]
    painted = np.abs(after[:height, :width] - before).max(-1) > 60
    assert 500 < painted.sum() < 0.1 * painted.size
    right = after[:, width:]
    blue, red = right[..., 0] - right[..., 2] > 80, right[..., 2] - right[..., 0] > 80
    assert blue.sum() > 300
    assert red.sum() > 300


@pytest.mark.parametrize("lifter", ["baseline", "deepbase1", "deepbase2", "gan"])
def test_every_lifter_draws_a_photo(posecli, tmp_path, lifter):
    assert lifter in names("lifter")
    photo = tmp_path / "in.png"
    with av.open(str(DEMO)) as file:
        write_image(photo, next(file.decode(video=0)).to_ndarray(format="bgr24"))
    result = posecli("image", photo, "--out", tmp_path / "out.jpg", "--lifter", lifter)
    assert result.code == 0, result.err
    assert result.out.startswith("1 frames, 1 with a person")
    assert (tmp_path / "out.jpg").stat().st_size > 10_000


def test_a_lifter_and_a_detector_by_path(posecli, tmp_path):
    clip = make_clip(tmp_path / "in.mp4", images=textured(3, (64, 48)))
    weights = {kind: find_weights(kind, names(kind)[0]) for kind in ("hourglass", "lifter")}
    result = posecli(
        "video", clip, "--out", tmp_path / "out.mp4",
        "--hourglass", weights["hourglass"], "--lifter", weights["lifter"], "--device", "cpu",
    )  # fmt: skip
    assert result.code == 0, result.err


def test_exact_runtimes_give_the_same_poses_and_int8_nearly(posecli, tmp_path):
    with av.open(str(DEMO)) as file:
        images = [frame.to_ndarray(format="bgr24") for frame in islice(file.decode(video=0), 4)]
    clip, found = make_clip(tmp_path / "in.mp4", images=images), []
    for runtime in ("torch", "onnx", "int8"):
        poses = tmp_path / f"{runtime}.h5"
        words = ("video", clip, "--out", tmp_path / "out.mp4", "--export", poses, "--smooth", "off")
        result = posecli(*words, "--runtime", runtime)
        assert result.code == 0, result.err
        found.append(posestore.read(poses).people[0])
    one, other, rounded = found
    assert len(one.frame) == 4
    # In pixels of the frame, some five to one of the crop. A region follows from joints found before, and a crop is cut
    # to a thirty-second of a pixel, so that differences of 1e-4 come to be some hundredths.
    np.testing.assert_allclose(other.xy, one.xy, atol=0.5)
    np.testing.assert_allclose(other.xyz, one.xyz, atol=5)  # mm
    assert (other.xy != one.xy).any()
    assert 0.01 < np.median(np.abs(rounded.xy - other.xy)) < 2


@pytest.mark.parametrize("command", ["video", "image"])
def test_an_unknown_runtime(posecli, tmp_path, command):
    source = DEMO
    if command == "image":
        source = tmp_path / "in.png"
        write_image(source, textured(1, (64, 48))[0])
    result = posecli(command, source, "--out", tmp_path / "out.mp4", "--runtime", "tensorflow")
    assert result.code == 2
    assert "'tensorflow': give one of auto, torch, onnx" in result.err
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize(
    ("ticks", "time_base"),
    [
        ([1001 * i for i in range(12)], Fraction(1, 30000)),  # 29.97
        ([1001 * i for i in range(12)], Fraction(1, 24000)),  # 23.976
        ([0, 40, 50, 130, 131, 400, 440], Fraction(1, 1000)),  # variable
    ],
)
def test_times_and_sound_survive(posecli, tmp_path, ticks, time_base):
    images = textured(len(ticks), (65, 47))  # odd on both sides
    clip = make_clip(
        tmp_path / "in.mp4", images=images, ticks=ticks, time_base=time_base, pix_fmt="yuv444p", sound="aac"
    )
    out = tmp_path / "out.mp4"
    result = posecli("video", clip, "--out", out)
    assert result.code == 0, result.err
    before, after = contents(clip, times_only=True), contents(out, times_only=True)
    assert [t - after.times[0] for t in after.times] == [t - before.times[0] for t in before.times]
    assert len(after.sound) == len(before.sound) > 0


def test_a_portrait_clip_stands_upright(posecli, tmp_path):
    clip = make_clip(tmp_path / "in.mp4", images=textured(3, (320, 180)), turn=90)
    assert posecli("video", clip, "--out", tmp_path / "out.mp4").code == 0
    image = contents(tmp_path / "out.mp4").images[0]
    assert image.shape[0] == 320  # the long side is now the height
    assert image.shape[1] < 2 * 320


def test_frames_without_a_person_are_drawn_without_a_skeleton(posecli, tmp_path):
    clip = make_clip(tmp_path / "in.mp4", images=textured(8, (320, 240)))
    result = posecli("video", clip, "--out", tmp_path / "out.mp4")
    assert result.out.startswith("8 frames, 0 with a person")
    images = contents(tmp_path / "out.mp4").images
    assert len(images) == 8
    assert np.abs(images[0][:240, :320].astype(int) - 100).max() < 40


def test_a_video_of_one_pixel_is_a_video(posecli, tmp_path):
    clip = make_clip(tmp_path / "in.avi", images=textured(2, (1, 1)), codec="ffv1", pix_fmt="bgr0")
    result = posecli("video", clip, "--out", tmp_path / "out.mp4")
    assert result.code == 0, result.err
    assert len(contents(tmp_path / "out.mp4").images) == 2


# What goes wrong: one line, an exit code, nothing left behind


def _text(folder: Path) -> Path:
    path = folder / "in.mp4"
    path.write_text("this is no video\n" * 50)
    return path


def _half(folder: Path) -> Path:
    path = folder / "in.mp4"
    data = DEMO.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def _half_that_starts_well(folder: Path) -> Path:
    path = folder / "in.mp4"
    noise = np.random.default_rng(0).integers(0, 256, (40, 48, 64, 3), dtype=np.uint8)
    data = make_clip(folder / "in.mp4", images=list(noise), faststart=True).read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def _sound(folder: Path) -> Path:
    return make_sound(folder / "in.mp4")


def _empty(folder: Path) -> Path:
    (folder / "in.mp4").touch()
    return folder / "in.mp4"


@pytest.mark.parametrize(
    "make", [_text, _half, _half_that_starts_well, _sound, _empty, lambda folder: folder / "in.mp4"]
)
def test_a_bad_clip_is_one_line(posecli, tmp_path, make):
    source = make(tmp_path)
    before = left_behind(tmp_path)
    result = posecli("video", source, "--out", tmp_path / "out.mp4")
    assert result.code == 1
    (line,) = [
        line
        for line in result.err.replace("\r", "\n").splitlines()
        if line.strip() and line[:5] not in ("find:", "draw:")
    ]
    assert line.startswith(f"posecli: {source}: ")
    assert left_behind(tmp_path) == before


def test_what_is_left_of_a_clip_that_was_cut_short(posecli, tmp_path, caplog):
    source = _half_that_starts_well(tmp_path)
    result = posecli("video", source, "--out", tmp_path / "out.mp4", "--salvage")
    assert result.code == 0
    (record,) = caplog.records
    frames = int(result.out.split()[0])
    assert record.getMessage() == f"{source}: is damaged or was cut short; {frames} frames could be read"
    assert 5 < len(contents(tmp_path / "out.mp4", times_only=True).times) == frames < 35


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--lifter", "nope"], 1, ["no lifter 'nope'", "baseline", "deepbase1", "deepbase2", "gan"]),
        (["--hourglass", "nope"], 1, ["no hourglass 'nope'", "hourglass-s"]),
        (["--device", "toaster"], 1, ["device 'toaster' cannot be used", "--device cpu"]),
        (["--device", "cuda:7"], 1, ["device 'cuda:7' cannot be used"]),
        (["--nonsense"], 2, ["No such option"]),
    ],
)
def test_a_bad_option_is_one_message(posecli, tmp_path, options, code, words):
    result = posecli("video", DEMO, "--out", tmp_path / "out.mp4", *options)
    assert result.code == code
    assert "Traceback" not in result.err
    assert all(word in result.err for word in words)
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("kind", ["hourglass", "lifter"])
@pytest.mark.parametrize("damage", ["bit", "cut", "text"])
def test_a_corrupt_weights_file_is_one_line(posecli, tmp_path, kind, damage):
    data = bytearray(find_weights(kind, names(kind)[0]).read_bytes())
    data[-1000] ^= 1
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes({"bit": data, "cut": data[: len(data) // 2], "text": b"no weights"}[damage])
    result = posecli("video", DEMO, "--out", tmp_path / "out.mp4", f"--{kind}", weights)
    assert result.code == 1
    (line,) = result.err.splitlines()
    assert line.startswith(f"posecli: {weights}: ")
    assert left_behind(tmp_path) == ["weights.safetensors"]


def test_an_output_that_cannot_be_written_is_said_at_once(posecli, tmp_path):
    for out in (tmp_path / "missing" / "out.mp4", tmp_path, tmp_path / "out.txt", DEMO):
        size = DEMO.stat().st_size
        result = posecli("video", DEMO, "--out", out)
        assert result.code == 1
        (line,) = result.err.splitlines()
        assert line.startswith(f"posecli: {out}: ")
        assert DEMO.stat().st_size == size
    assert left_behind(tmp_path) == []


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="needs a folder in which nobody may write")
def test_an_unwritable_folder_is_said_at_once(posecli):
    result = posecli("video", DEMO, "--out", "/proc/out.mp4")
    assert result.code == 1
    assert result.err.startswith("posecli: /proc/out.mp4: cannot be written")
    assert len(result.err.splitlines()) == 1


def test_ctrl_c_leaves_nothing(posecli, tmp_path, monkeypatch):
    from pipeline.render import Renderer

    def interrupted(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Renderer, "draw", interrupted)
    clip = make_clip(tmp_path / "in.mp4", images=textured(3, (64, 48)))
    result = posecli("video", clip, "--out", tmp_path / "out.mp4")
    assert result.code == 130
    assert left_behind(tmp_path) == ["in.mp4"]


# The other commands

COMMANDS = (
    "video", "image", "train-hourglass", "train-finder", "train-lifter", "eval-hourglass", "eval-clips", "eval-views",
    "import-weights", "export-onnx", "prepare-mocap", "bench",
)  # fmt: skip


def test_help_is_quick_and_lists_every_command():
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "pipeline.cli", "--help"], capture_output=True, text=True, check=True
    )
    assert "torch" not in {line.split("|")[-1].strip() for line in run.stderr.splitlines()}
    for command in COMMANDS:
        assert command in run.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(posecli, command):
    result = posecli(command, "--help")
    assert result.code == 0
    assert "Usage: posecli" in result.out


def _photo_set(folder: Path, count: int) -> Path:
    """A set in the layout of LSP-extended."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    for index in range(count):
        write_image(folder / "images" / f"im{index + 1:05d}.jpg", rng.integers(0, 256, (60, 50, 3), dtype=np.uint8))
    joints = np.concatenate([rng.uniform(5, 45, (14, 2, count)), np.ones((14, 1, count))], 1)
    savemat(folder / "joints.mat", {"joints": joints})
    return folder


def test_train_and_measure_a_detector(posecli, tmp_path):
    photos = _photo_set(tmp_path / "photos", 12)
    weights = tmp_path / "hg.safetensors"
    trained = posecli(
        "train-hourglass", "--data", f"lspet:{photos}", "--out", weights, "--hold-back", 4, "--epochs", 2, "--batch", 4,
    )  # fmt: skip
    assert trained.code == 0, trained.err
    measured = posecli(
        "eval-hourglass",
        "--data",
        f"lspet:{photos}",
        "--hourglass",
        weights,
        "--held-back",
        4,
        "--json",
        tmp_path / "r.json",
    )
    assert measured.code == 0, measured.err
    assert "4 images" in measured.out
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["images"] == 4
    assert set(result["pck@0.2"]) == {"limbs", "mean", "per_joint"}


def test_measure_on_clips_with_truth(posecli, tmp_path):
    folder = os.environ.get("POSECLI_DATA")
    if not folder:
        pytest.skip("POSECLI_DATA does not name the folder of the test data")
    for name in ("D_walk.mp4", "D_walk_gt.json"):
        (tmp_path / name).symlink_to(Path(folder) / "clips" / "rendered" / name)
    result = posecli("eval-clips", tmp_path, "--json", tmp_path / "r.json")
    assert result.code == 0, result.err
    scores = json.loads((tmp_path / "r.json").read_text())
    assert list(scores["clips"]["D_walk"]) == [
        *("frames", "found", "pck", "mpjpe_mm", "pa_mpjpe_mm", "mpjpe_true_focal_mm", "pa_mpjpe_true_focal_mm"),
        *("root_mm", "root_scaled_mm", "skate_mm_s", "skate_true_mm_s", "accel_mm_s2", "accel_world_mm_s2"),
    ]
    assert np.isfinite(list(scores["mean"].values())).all()
    assert scores["mean"] == scores["clips"]["D_walk"]
    assert scores["mean"]["frames"] == 68
    assert scores["mean"]["found"] >= 60
    assert scores["mean"]["pck"] > 50
    assert scores["mean"]["mpjpe_mm"] < 200


def test_measure_without_clips(posecli, tmp_path):
    result = posecli("eval-clips", tmp_path)
    assert result.code == 1
    assert result.err == f"posecli: {tmp_path}: no NAME.mp4 with NAME_gt.json in it\n"

"""A student learns a larger network's heatmaps: the same places and masses on its own, coarser grid."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hourglass.augment import AUGMENTATIONS
from hourglass.codec import Codec, to_heatmap
from hourglass.data import read_photos
from hourglass.model import HourglassConfig, StackedHourglass
from hourglass.predict import Detector, LookNetwork, Pixels, save_detector, to_input
from hourglass.recipe import TrainConfig
from hourglass.samples import Samples
from hourglass.teacher import Teacher
from hourglass.train import train_hourglass
from pipeline.checkpoint import load_checkpoint
from pipeline.errors import CheckpointError, InputError
from pipeline.skeleton import LSP14, MPII16, Skeleton
from pipeline.weights import file_sha256
from tests.hourglass.photos import simple_set

CPU = torch.device("cpu")
STUDENT = HourglassConfig(joints=14, stacks=1, widths=(8, 8), stem_width=4, block="plain", input_size=32)


def write_teacher(path: Path, *, size: int = 64, skeleton: Skeleton = LSP14, codec: Codec | None = None) -> Path:
    torch.manual_seed(0)
    model = StackedHourglass(replace(STUDENT, input_size=size, joints=len(skeleton)))
    with torch.no_grad():
        model.scores[0].weight *= 30  # something to learn: a random network's maps are nearly flat
    save_detector(path, model, codec=codec or Codec(), skeleton=skeleton, provenance={})
    return path


@pytest.fixture
def teacher(tmp_path: Path) -> Teacher:
    return Teacher.load(write_teacher(tmp_path / "teacher.safetensors"), share=0.7, student=STUDENT, device=CPU)


def crops(count: int = 2, size: int = 64) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8))


def test_a_pixel_of_the_student_holds_the_mass_of_the_teachers_within_it(teacher):
    found = teacher.targets(crops())
    network = LookNetwork(teacher.detector.model, teacher.detector.codec)
    with torch.no_grad():
        maps = network(crops())
        mirrored = network(crops().flip(2)).flip(-1)[:, list(LSP14.flip)]
    fine = (maps + mirrored) / 2
    assert found.shape == (2, 14, 8, 8)
    torch.testing.assert_close(found[1, 3, 2, 5], fine[1, 3, 4:6, 10:12].sum())
    torch.testing.assert_close(found.sum((-1, -2)), fine.sum((-1, -2)))
    assert found.sum((-1, -2)).max() <= 1 + 1e-5  # the rest is "not in this crop"


def test_places_on_both_grids_are_the_same_places(teacher):
    xy = torch.tensor([[0.0, 63.0], [20.5, 31.5]])  # pixels of the teacher's crop
    in_student = (xy + 0.5) / 2 - 0.5
    torch.testing.assert_close(teacher.placed(to_heatmap(xy)), to_heatmap(in_student))


def test_the_student_sees_means_of_the_teachers_pixels(teacher):
    pixels = Pixels(mean=0.5, scale=0.5)
    shown, whole = teacher.shown(crops(), pixels), to_input(crops(), pixels)
    assert shown.shape == (2, 3, 32, 32)
    torch.testing.assert_close(shown[1, 2, 7, 9], whole[1, 2, 14:16, 18:20].mean())


@pytest.mark.parametrize("size", [48, 16])
def test_a_teacher_of_another_size(tmp_path, size):
    path = write_teacher(tmp_path / "teacher.safetensors", size=size)
    with pytest.raises(InputError, match=rf"teacher.*: sees {size} px, not a multiple of the student's 32; give"):
        Teacher.load(path, share=0.5, student=STUDENT, device=CPU)


@pytest.mark.parametrize(
    "told", [{"skeleton": MPII16}, {"codec": Codec("height")}, {"codec": Codec(sigma=1.5)}], ids=str
)
def test_a_teacher_of_something_else(tmp_path, told):
    path = write_teacher(tmp_path / "teacher.safetensors", **told)
    with pytest.raises(CheckpointError, match=r"teacher.*cannot teach"):
        Teacher.load(path, share=0.5, student=STUDENT, device=CPU).check(path, skeleton=LSP14, codec=Codec())


def tiny_run(tmp_path: Path, **changes: object) -> TrainConfig:
    config = TrainConfig(
        data=(f"lspet:{simple_set(tmp_path / 'photos', 14)}",), out=tmp_path / "student.safetensors", model=STUDENT,
        hold_back=2, epochs=4, batch=4, warm_up=2, rate=2e-3, precision="float32",
    )  # fmt: skip
    return replace(config, **changes)


def test_a_run_says_who_taught(tmp_path):
    path = write_teacher(tmp_path / "teacher.safetensors")
    train_hourglass(tiny_run(tmp_path, teacher=str(path)))
    recipe = load_checkpoint(tmp_path / "student.safetensors", "hourglass").meta["provenance"]["recipe"]
    assert recipe["teacher"] == "teacher.safetensors"
    assert recipe["teacher_sha256"] == file_sha256(path)
    assert recipe["teacher_share"] == 0.7


def test_all_of_the_teacher_and_none(tmp_path):
    """With the whole loss the student comes nearer to the teacher than with none of it."""
    path = write_teacher(tmp_path / "teacher.safetensors")
    teacher = Teacher.load(path, share=1.0, student=STUDENT, device=CPU)
    away = []
    config = tiny_run(tmp_path, teacher=str(path), epochs=12, ema=0.0)
    for share in (1.0, 0.0):
        config = replace(config, teacher_share=share)
        student = Detector.load(train_hourglass(config), CPU)
        with torch.no_grad():
            logits = student.model(teacher.shown(crops(), student.pixels))[-1]
        away.append(student.codec.losses_against(logits, teacher.targets(crops())).mean().item())
    assert away[0] < away[1]


def test_the_end_of_a_run_is_calmer(tmp_path):
    photos = tiny_run(tmp_path)
    drawn = Samples([read_photos(photos.data[0])], AUGMENTATIONS["strong"], input_size=32, batch=4, seed=1)
    plain = Samples(drawn.sets, AUGMENTATIONS["none"], input_size=32, batch=4, seed=1)
    strong = [drawn[step][0] for step in (4, 5)]
    drawn.calm_down(AUGMENTATIONS["none"], step=5)
    assert torch.equal(drawn[4][0], strong[0])
    assert torch.equal(drawn[5][0], plain[5][0])
    assert not torch.equal(drawn[5][0], strong[1])


@pytest.mark.parametrize("option", ["--teacher", "--calm"])
def test_wrong_names(posecli, tmp_path, option):
    config = tiny_run(tmp_path)
    result = posecli("train-hourglass", "--data", config.data[0], "--out", config.out, option, "nonsense")
    assert result.code in (1, 2)
    assert "nonsense" in result.err
    assert not config.out.exists()

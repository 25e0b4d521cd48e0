"""A long clip needs no more memory than a short one."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from hourglass.codec import Codec
from hourglass.model import HourglassConfig, StackedHourglass
from hourglass.predict import save_detector
from pipeline.skeleton import LSP14
from tests.pipeline.clips import make_clip

SIZE = (640, 360)
SHORT = 30  # frames; ten times as many would take 200 MB if they were held
TOLD_BY_THE_SYSTEM = """
import resource, sys
from pipeline.cli import main
sys.argv = ["posecli", *sys.argv[1:]]
try:
    main()
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def _peak_kib(clip: Path, weights: Path) -> int:
    out = clip.with_name(f"out_{clip.name}")
    words = ["video", clip, "--out", out, "--hourglass", weights, "--device", "cpu"]
    run = subprocess.run(
        [sys.executable, "-c", TOLD_BY_THE_SYSTEM, *map(str, words)], capture_output=True, text=True, check=True
    )
    return int(run.stdout.splitlines()[-1])


def test_peak_memory_does_not_grow_with_the_clip(tmp_path):
    torch.manual_seed(0)
    weights = tmp_path / "tiny.safetensors"
    tiny = HourglassConfig(joints=14, stacks=1, widths=(4, 4), stem_width=4, block="plain", input_size=32)
    save_detector(weights, StackedHourglass(tiny), codec=Codec(), skeleton=LSP14, provenance={})
    image = np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    peaks = []
    for name, count in (("short.mp4", SHORT), ("long.mp4", 10 * SHORT)):
        images = [np.roll(image, i, axis=1) for i in range(SHORT)] * (count // SHORT)
        peaks.append(_peak_kib(make_clip(tmp_path / name, images=images), weights))
    short, long = peaks
    assert long < 1.1 * short

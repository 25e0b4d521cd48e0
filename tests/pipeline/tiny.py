"""Networks too small to know anything, for tests of all that is around them: the same program, at once ready."""

from pathlib import Path

import torch

from hourglass.codec import Codec
from hourglass.finder import Finder, FinderCodec, save_finder
from hourglass.model import HourglassConfig, StackedHourglass
from hourglass.predict import Detector, Pixels, save_detector
from lifter.predict import Lifter
from pipeline.run import Models
from pipeline.skeleton import LSP14
from pipeline.weights import find_weights


def tiny_models(folder: Path) -> Models:
    """An untrained detector and finder, written to a folder and read back, with the shipped lifter."""
    shape = {"stacks": 1, "widths": (4, 4), "stem_width": 4, "block": "plain", "input_size": 64}
    torch.manual_seed(0)
    detector, finder = folder / "detector.safetensors", folder / "finder.safetensors"
    network = StackedHourglass(HourglassConfig(joints=len(LSP14), **shape))
    save_detector(detector, network, codec=Codec(), skeleton=LSP14, provenance={})
    codec = FinderCodec()
    network = StackedHourglass(HourglassConfig(joints=codec.classes, **shape))
    save_finder(finder, network, codec=codec, provenance={}, pixels=Pixels())
    device = torch.device("cpu")
    lifter = Lifter.load(find_weights("lifter", "baseline"), device)
    return Models(Detector.load(detector, device), Finder.load(finder, device), lifter, {"posecli": "test"})

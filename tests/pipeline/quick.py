"""The main job made quick, for tests of what is around it: networks that are loaded once, and that nobody asks."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.device import share_processor
from pipeline.run import Models
from pipeline.sighting import Sighting
from pipeline.weights import names
from tests.pipeline.clips import make_clip

FRAMES = 3


def plain_clip(path: Path, *, frames: int = FRAMES, size: tuple[int, int] = (64, 48)) -> Path:
    """A clip without a person."""
    rng = np.random.default_rng(0)
    return make_clip(path, images=list(rng.integers(90, 110, (frames, size[1], size[0], 3), dtype=np.uint8)))


class Nobody:
    """A tracker that sees nobody."""

    def update(self, _image: np.ndarray, _time_s: float) -> dict[int, Sighting]:
        return {}


@lru_cache(maxsize=1)
def _shipped() -> Models:
    share_processor()
    return Models.load(hourglass=names("hourglass")[0], lifter="baseline", device=torch.device("cpu"))


def quicken(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """Nobody is in any clip and the shipped networks are there; the list gets what each loading asks for."""
    calls: list[dict[str, object]] = []
    shipped = _shipped()

    def load(**options: object) -> Models:
        calls.append(options)
        return shipped

    monkeypatch.setattr(Models, "load", load)
    monkeypatch.setattr(Models, "tracker", lambda _self, **_: Nobody())
    return calls

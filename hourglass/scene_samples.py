"""Batches of composed scenes for the finder. A batch follows from (seed, step) alone, however it is loaded."""

import logging
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from hourglass.photos import PhotoSet
from hourglass.samples import drawn_ahead, kept_bytes_here
from hourglass.scenes import Composer, Model, Scene, SceneConfig
from pipeline.errors import DataError
from pipeline.skeleton import LSP14

logger = logging.getLogger(__name__)

DRAWN = 3  # photos that a batch is composed of, per scene
FEWEST_LABELS = 10  # of LSP14's joints; with fewer, it is not known where the whole body is
SHAPES = (4 / 7, 5 / 7, 1.0)  # shorter over longer side of the network's input, about

# images (N, H, W, 3) uint8 BGR, people (N, P, 3) input pixels, labelled (N, P) bool, ignored (N, P) bool
SceneBatch = tuple[Tensor, Tensor, Tensor, Tensor]


class SceneSamples(Dataset[SceneBatch]):
    """Sample number `step` is the batch of that step. All scenes of a batch have one shape, landscape or portrait; its
    longer side is `longer` and its shorter side a multiple of `multiple`; the rest of it that a frame does not
    fill, below or to the right, is black, as `finder.fitted` leaves it. People whose region's side is less than
    `smallest` are neither to be found nor not.
    """

    def __init__(
        self,
        sets: list[PhotoSet],
        config: SceneConfig,
        *,
        longer: int,
        multiple: int,
        smallest: float,
        batch: int,
        seed: int,
    ) -> None:
        self.smallest = smallest
        self.sets = [photos.to_skeleton(LSP14) for photos in sets]
        self.config, self.longer, self.multiple, self.size, self.seed = config, longer, multiple, batch, seed
        rows = [(photos, np.flatnonzero(photos.labelled.sum(1) >= FEWEST_LABELS)) for photos in self.sets]
        self.where = [(photos, int(row)) for photos, usable in rows for row in usable]
        if not self.where:
            names = ", ".join(photos.name for photos in sets)
            raise DataError(f"{names}: no photo with {FEWEST_LABELS} labelled joints to compose scenes from")
        weights = np.concatenate([np.full(len(usable), photos.weight) for photos, usable in rows])
        self.ends = np.cumsum(weights / weights.sum())
        self.models: dict[int, Model | None] = {}
        self.room = kept_bytes_here()

    def __getitem__(self, step: int) -> SceneBatch:
        rng = np.random.default_rng((self.seed, step))
        shorter = round(rng.choice(SHAPES) * self.longer / self.multiple) * self.multiple
        shape = (shorter, self.longer) if rng.random() < 0.65 else (self.longer, shorter)
        models = [self._draw(rng) for _ in range(DRAWN * self.size)]
        return collated([self.scene(rng, shape, models) for _ in range(self.size)])

    def scene(self, rng: np.random.Generator, shape: tuple[int, int], models: list[Model]) -> Scene:
        """A scene of that shape (H, W), of these photos: a frame as long, up to `multiple` narrower, and black."""
        narrow = int(rng.integers(self.multiple)) if rng.random() < 0.7 else 0
        height, width = shape[0] - narrow * (shape[0] < shape[1]), shape[1] - narrow * (shape[1] < shape[0])
        scene = Composer(rng, (width, height), models, config=self.config).scene()
        canvas = np.zeros((*shape, 3), np.uint8)
        canvas[:height, :width] = scene.image
        return replace(scene, image=canvas, labelled=scene.labelled & (scene.people[:, 2] >= self.smallest))

    def _draw(self, rng: np.random.Generator) -> Model:
        """A photo by the weights of the sets; another one if it cannot be read."""
        for _ in range(100):
            model = self._model(min(int(np.searchsorted(self.ends, rng.random())), len(self.where) - 1))
            if model is not None:
                return model
        raise DataError(f"{self.where[0][0].files[0].parent}: hardly any photo can be read; unpack the data set again")

    def _model(self, index: int) -> Model | None:
        if index in self.models:
            return self.models[index]
        photos, row = self.where[index]
        try:
            model = Model.of(photos.read(row), photos.xy[row], photos.labelled[row])
        except DataError as error:
            logger.warning("%s (left out of training)", error)
            self.models[index] = None  # said once
            return None
        if model.image.nbytes + model.mask.nbytes <= self.room:
            self.models[index] = model
            self.room -= model.image.nbytes + model.mask.nbytes
        return model

    def from_step(self, first: int, end: int, *, workers: int, pin: bool) -> Generator[SceneBatch, None, None]:
        """The batches of steps `first` to `end`, drawn ahead by so many worker processes (0: by this one).

        A generator, to be closed when it is not used up, as that of `hourglass.samples`.
        """
        if workers:
            self.room //= workers  # each keeps photos of its own
        yield from drawn_ahead(self, range(first, end), workers=workers, pin=pin)

    def __getstate__(self) -> dict[str, Any]:
        """What a worker is sent: everything but the photos read so far."""
        return {**self.__dict__, "models": {}}


def collated(scenes: list[Scene]) -> SceneBatch:
    """Scenes of one shape as a batch."""
    most = max(1, *(len(scene.people) for scene in scenes))
    people = np.ones((len(scenes), most, 3), np.float32)
    labelled, ignored = np.zeros((2, len(scenes), most), bool)
    for number, scene in enumerate(scenes):
        count = len(scene.people)
        people[number, :count] = scene.people
        labelled[number, :count], ignored[number, :count] = scene.labelled, ~scene.labelled
    images = np.stack([scene.image for scene in scenes])
    return tuple(map(torch.from_numpy, (images, people, labelled, ignored)))  # type: ignore[return-value]

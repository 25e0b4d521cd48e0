"""Batches of augmented crops for training: which photos a step sees, and how they reach the network.

Everything about a sample follows from (seed, epoch, photo), so a run shows the same whatever the number of processes
or loading workers, and however often it was stopped.
"""

import logging
import os
import signal
from collections.abc import Generator
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.context import BaseContext
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hourglass.augment import AugmentConfig, augmented_crop
from hourglass.codec import to_heatmap
from hourglass.data import PhotoSet
from pipeline.errors import DataError

logger = logging.getLogger(__name__)

KEPT_PART = 0.25  # of the machine's memory for decoded photos, over all loaders of a run
FEWEST_LABELS = 4  # a photo with fewer says too little of where the person is

Batch = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Share:
    """The part of every batch that falls to one of several processes."""

    rank: int = 0
    world: int = 1


def kept_bytes_here() -> int:
    """What decoded photos may take of this machine's memory."""
    return int(KEPT_PART * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


class Samples(Dataset[Batch]):
    """Sample number `step` is the batch of that step: crops (B, S, S, 3) uint8 BGR, joints (B, J, 2) heatmap pixels,
    labelled (B, J) bool. From `calm_from` on, the photos are changed as `calm` says.
    """

    def __init__(
        self,
        sets: list[PhotoSet],
        augment: AugmentConfig,
        *,
        input_size: int,
        batch: int,
        seed: int,
        share: Share | None = None,
        kept_bytes: int | None = None,
    ) -> None:
        self.sets, self.augment, self.input_size, self.size, self.seed = sets, augment, input_size, batch, seed
        self.calm, self.calm_from = augment, 0
        self.share = share or Share()
        rows = [(photos, np.flatnonzero(photos.labelled.sum(1) >= FEWEST_LABELS)) for photos in sets]
        self.where = [(photos, int(row)) for photos, usable in rows for row in usable]
        self.weights = np.concatenate([np.full(len(usable), photos.weight) for photos, usable in rows])
        self.images: dict[int, np.ndarray | None] = {}
        self.room = (kept_bytes_here() if kept_bytes is None else kept_bytes) // self.share.world

    @property
    def per_epoch(self) -> int:
        """Samples an epoch draws: every photo as often as its weight says."""
        return int(self.weights.sum())

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch."""
        return self.per_epoch // self.size

    def order(self, epoch: int) -> np.ndarray:
        """Indices of the photos of an epoch, shuffled; of a weight of 2.3, the 0.3 falls to others every epoch."""
        rng = np.random.default_rng((self.seed, epoch))
        times = np.floor(self.weights + rng.random(len(self.weights))).astype(int)
        drawn = rng.permutation(np.repeat(np.arange(len(self.weights)), times))
        return np.resize(drawn, max(self.per_epoch, 1))  # the chance of the fractions makes a few more or less

    def calm_down(self, augment: AugmentConfig, *, step: int) -> None:
        """From this step on, change photos like this instead."""
        self.calm, self.calm_from = augment, step

    def __getitem__(self, step: int) -> Batch:
        epoch, position = divmod(step, self.steps_per_epoch)
        order = self.order(epoch)
        start = position * self.size
        augment = self.calm if step >= self.calm_from else self.augment
        mine = range(start, start + self.size)[self.share.rank :: self.share.world]
        crops, xy, labelled = (
            np.stack(part)
            for part in zip(*(self.sample(epoch, int(order[i]), i, augment=augment) for i in mine), strict=True)
        )
        return torch.from_numpy(crops), to_heatmap(torch.from_numpy(xy)), torch.from_numpy(labelled)

    def sample(
        self, epoch: int, index: int, draw: int = 0, *, augment: AugmentConfig | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Crop (S, S, 3) uint8 BGR, joints (J, 2) crop pixels, labelled (J,), of photo `index`; a `draw` of its own
        for each time that an epoch shows a photo. A photo that cannot be read gives a black crop without labels.
        """
        rng = np.random.default_rng((self.seed, epoch, index, draw))
        photos, row = self.where[index]
        image = self._image(index)
        if image is None:
            joints = len(photos.skeleton)
            blank = np.zeros((self.input_size, self.input_size, 3), np.uint8)
            return blank, np.zeros((joints, 2), np.float32), np.zeros(joints, bool)
        occluder = int(rng.integers(len(self.where)))

        def other() -> np.ndarray:
            found = self._image(occluder)
            return image if found is None else found

        return augmented_crop(
            rng,
            image,
            photos.xy[row],
            photos.labelled[row],
            region=photos.region(row),
            skeleton=photos.skeleton,
            size=self.input_size,
            config=augment or self.augment,
            other=other,
        )

    def _image(self, index: int) -> np.ndarray | None:
        if index in self.images:
            return self.images[index]
        photos, row = self.where[index]
        try:
            image = photos.read(row)
        except DataError as error:
            logger.warning("%s (left out of training)", error)
            self.images[index] = None  # said once
            return None
        if image.nbytes <= self.room:
            self.images[index] = image
            self.room -= image.nbytes
        return image

    def from_step(self, first: int, end: int, *, workers: int, pin: bool) -> Generator[Batch, None, None]:
        """The batches of steps `first` to `end`, drawn ahead by so many worker processes (0: by this one).

        A generator, to be closed when it is not used up: that ends the workers, which heed no signal.
        """
        if workers:
            self.room //= workers  # each keeps photos of its own
        yield from drawn_ahead(self, range(first, end), workers=workers, pin=pin)

    def __getstate__(self) -> dict[str, Any]:
        """What a worker is sent: everything but the photos read so far."""
        return {**self.__dict__, "images": {}}


def drawn_ahead(batches: Dataset[Any], steps: range, *, workers: int, pin: bool) -> DataLoader[Any]:
    """The batches of these steps, whole as they are, in order, drawn ahead by so many worker processes."""
    return DataLoader(
        batches,
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        pin_memory=pin,
        worker_init_fn=_prepare_worker if workers else None,
        multiprocessing_context=_worker_context() if workers else None,
    )


def _worker_context() -> BaseContext:
    """Workers come from a server that has imported all they need: each on its own would take seconds, one after the
    other. A fork of this process itself could wait for ever for a thread of OpenCV's that did not come along.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _prepare_worker(_worker: int) -> None:
    """OpenCV's threads would fight the other workers for the processor; and a signal to the whole group is for the
    training process, which still needs this one's samples for its last step.
    """
    cv2.setNumThreads(1)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)

"""What a step of training sees follows from the seed alone, however many processes and workers draw it."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hourglass.augment import AugmentConfig
from hourglass.data import read_photos
from hourglass.samples import Samples, Share
from tests.hourglass.photos import simple_set


@pytest.fixture
def photos(tmp_path: Path) -> Any:
    """Fourteen photos of 64 x 64."""
    return read_photos(f"lspet:{simple_set(tmp_path / 'photos', 14)}")


def samples(*sets: Any, **options: Any) -> Samples:
    return Samples(list(sets), AugmentConfig(), **{"input_size": 32, "batch": 4, "seed": 1, **options})


def assert_equal_batches(first: Any, second: Any) -> None:
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)


def test_processes_share_a_batch(photos):
    whole = samples(photos)[5]
    halves = [samples(photos, share=Share(rank, 2))[5] for rank in range(2)]
    for together, first, second in zip(whole, *halves, strict=True):
        assert torch.equal(together[0::2], first)
        assert torch.equal(together[1::2], second)


def test_workers_draw_what_the_process_itself_would(photos):
    drawn = samples(photos)
    here = list(drawn.from_step(2, 6, workers=0, pin=False))
    there = list(samples(photos).from_step(2, 6, workers=2, pin=False))
    assert len(here) == 4
    for index, (a, b) in enumerate(zip(here, there, strict=True)):
        assert_equal_batches(a, b)
        assert_equal_batches(a, drawn[2 + index])


def test_an_epoch_shows_every_photo_once_in_an_order_of_its_own(photos):
    drawn = samples(photos)
    epochs = [drawn.order(epoch).tolist() for epoch in range(2)]
    assert [sorted(order) for order in epochs] == [list(range(14))] * 2
    assert epochs[0] != epochs[1]
    assert drawn.steps_per_epoch == 3


def test_weights_say_how_often_a_photo_is_drawn(photos):
    half, double = photos.select(np.arange(4)), photos.select(np.arange(4, 14))
    drawn = samples(replace(half, weight=0.5), replace(double, weight=2.5))
    assert drawn.per_epoch == 27
    counts = np.mean([np.bincount(drawn.order(epoch), minlength=14) for epoch in range(400)], 0)
    assert counts[:4] == pytest.approx(0.5, abs=0.1)
    assert counts[4:] == pytest.approx(2.5, abs=0.15)
    assert {len(drawn.order(epoch)) for epoch in range(20)} == {27}


def test_a_photo_drawn_twice_in_an_epoch_is_augmented_twice(photos):
    drawn = samples(replace(photos.select(np.arange(1)), weight=4.0), batch=4)
    images = drawn[0][0]
    assert not torch.equal(images[0], images[1])


def test_a_batch_is_what_network_and_loss_take(photos):
    crops, xy, labelled = samples(photos)[0]
    assert crops.shape == (4, 32, 32, 3)
    assert crops.dtype == torch.uint8
    assert xy.shape == (4, 14, 2)
    assert xy.dtype == torch.float32
    assert labelled.shape == (4, 14)
    assert labelled.dtype == torch.bool
    # heatmap pixels: a person fills about the heatmap's eight
    assert 2 < (xy.amax(1) - xy.amin(1)).amax(1).median() < 12


def test_photos_with_hardly_a_label_are_left_out(photos):
    photos.labelled[3, 3:] = False
    photos.labelled[5, 4:] = False
    assert [row for _, row in samples(photos).where] == [row for row in range(14) if row != 3]


def test_a_photo_that_cannot_be_read_teaches_nothing_and_is_named_once(photos, caplog):
    photos.files[2].write_bytes(b"no photo")
    drawn = samples(photos, batch=14)
    with caplog.at_level(logging.WARNING):
        for step in range(3):
            images, _, labelled = drawn[step]
            dark = [bool((image == image[:, :1, :1]).all()) for image in images]
            assert sum(dark) == 1
            assert labelled.any(1).tolist() == [not empty for empty in dark]
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(str(photos.files[2]))
    assert caplog.messages[0].endswith("(left out of training)")


def test_only_so_many_bytes_of_photos_are_kept(photos):
    size = photos.read(0).nbytes
    drawn = samples(photos, kept_bytes=3 * size + 1)
    whole = samples(photos)
    for step in range(6):
        assert_equal_batches(drawn[step], whole[step])
    assert len(drawn.images) == 3

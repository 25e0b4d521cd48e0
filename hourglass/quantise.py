"""Measuring, on training photos, the ranges between which a network's values lie, and keeping them in its weights file:
what `pipeline.int8` needs.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, count, islice
from pathlib import Path

import numpy as np
import torch

from hourglass import finder as finding
from hourglass.data import PhotoSet
from hourglass.finder import Finder
from hourglass.predict import KIND, ZOOMS, Detector
from hourglass.samples import FEWEST_LABELS
from hourglass.scene_samples import SceneSamples
from hourglass.scenes import SceneConfig
from pipeline.atomic import check_writable
from pipeline.checkpoint import Checkpoint, kind_of, load_checkpoint, save_checkpoint
from pipeline.errors import CheckpointError, DataError
from pipeline.int8 import KEY, Ranges, measure_ranges
from pipeline.runtime import as_onnx

AT_ONCE = 8  # photos; every value of the network is kept for these
SEED = 0  # of the choice of photos


def quantise(path: Path, out: Path, sets: list[PhotoSet], *, photos: int) -> Ranges:
    """Write the weights file at `path` again, at `out`, with the ranges over so many photos of these sets.

    A detector sees people as it does in a clip, a finder sees scenes composed of the photos. Raises CheckpointError for
    weights of neither, DataError if no photo can be used, OutputError if the file cannot be written.
    """
    check_writable(out)
    kind = kind_of(path)
    if kind == KIND:
        ranges = _detector_ranges(Detector.load(path, torch.device("cpu")), sets, photos=photos)
    elif kind == finding.KIND:
        ranges = _finder_ranges(Finder.load(path, torch.device("cpu")), sets, photos=photos)
    else:
        raise CheckpointError(f"{path}: weights of a {kind}; int8 is for detectors and finders")
    checkpoint = load_checkpoint(path, kind)
    told = replace(checkpoint, meta={**checkpoint.meta, KEY: {name: list(both) for name, both in ranges.items()}})
    save_checkpoint(out, told, dtype=torch.float16 if _fits_float16(checkpoint) else torch.float32)
    return ranges


def _detector_ranges(detector: Detector, sets: list[PhotoSet], *, photos: int) -> Ranges:
    network, example = detector.whole_network()
    return measure_ranges(as_onnx(network, example), _looks(detector, sets, photos=photos))


def _looks(detector: Detector, sets: list[PhotoSet], *, photos: int) -> Iterator[np.ndarray]:
    """Batches of crops (N, S, S, 3) of people in photos: all looks at each but the mirrored ones."""
    rows = [(one, int(row)) for one in sets for row in np.flatnonzero(one.labelled.sum(1) >= FEWEST_LABELS)]
    chosen = np.random.default_rng(SEED).permutation(len(rows))[:photos].tolist()
    if not chosen:
        raise DataError("no photo has enough labels to be an example; give a larger set")
    for start in range(0, len(chosen), AT_ONCE):
        some = [rows[number] for number in chosen[start : start + AT_ONCE]]
        yield np.concatenate([detector.cut(one.read(row), one.region(row), zooms=ZOOMS) for one, row in some])


def _finder_ranges(finder: Finder, sets: list[PhotoSet], *, photos: int) -> Ranges:
    """Over as many scenes as photos, as large as frames are for the finder and all of one shape."""
    samples = SceneSamples(
        sets,
        SceneConfig(),
        longer=finder.longer,
        multiple=finder.multiple,
        smallest=finder.codec.least,
        batch=AT_ONCE,
        seed=SEED,
    )
    drawn = (samples[number][0].numpy() for number in count())
    first = next(drawn)
    alike = chain([first], (scenes for scenes in drawn if scenes.shape == first.shape))
    network, example = finder.whole_network(first.shape[1:])
    return measure_ranges(as_onnx(network, example), islice(alike, -(-photos // AT_ONCE)))


def _fits_float16(checkpoint: Checkpoint) -> bool:
    """Whether the tensors are kept exactly in half precision, as they are where they come from such a file."""
    floats = (tensor for tensor in checkpoint.tensors.values() if tensor.is_floating_point())
    return all(torch.equal(tensor.half().float(), tensor) for tensor in floats)

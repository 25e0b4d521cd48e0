"""Motion capture for training the lifters: reading, checking, and the split into training and validation trials.

Kinds of data, named on the command line as KIND:PATH:

    mocap   a NumPy .npz of motions, key SOURCE/.../TRIAL -> float (T, 17, 3): H36M17 joints in mm, y up; the hip
            is joint 0, the 'head' may be any point of the head
"""

import hashlib
import re
import zipfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lifter.body import DIRECTIONS, directions_of, level_heads
from pipeline.errors import DataError, InputError
from pipeline.skeleton import H36M17

DANCERS_PER_TRIAL = 15  # salsa n and n + 15 are the two partners of one dance


@dataclass(frozen=True)
class Motion:
    """One recording: where it comes from, which trial it shows, and its poses (T, 17, 3) in mm, y up."""

    source: str
    trial: str
    poses: np.ndarray


def parse_spec(spec: str) -> Path:
    """The path of a data argument KIND:PATH; InputError if the kind is not known or the file is not there."""
    kind, separator, path = spec.partition(":")
    if not separator or kind != "mocap":
        raise InputError(f"--data {spec}: expected mocap:PATH, a .npz of H36M-17 motions")
    if not Path(path).is_file():
        raise InputError(f"--data {spec}: no such file")
    return Path(path)


def read_motions(path: Path) -> list[Motion]:
    """All motions of a 'mocap' file; DataError naming file, key and what was expected if anything does not fit."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            motions = [_motion(path, key, archive[key]) for key in archive.files]
    except (OSError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a readable .npz of motions ({error})") from error
    if not motions:
        raise DataError(f"{path}: holds no motions")
    return motions


def _motion(path: Path, key: str, poses: np.ndarray) -> Motion:
    expected = (len(H36M17), 3)
    if poses.ndim != 3 or poses.shape[1:] != expected or poses.dtype.kind != "f" or not len(poses):
        raise DataError(f"{path}: {key}: expected float (T, 17, 3), got {poses.dtype} {poses.shape}")
    if not np.isfinite(poses).all():
        raise DataError(f"{path}: {key}: has coordinates that are not finite")
    if not 500 < np.ptp(poses, axis=1).max() < 3000:
        raise DataError(f"{path}: {key}: a person of {np.ptp(poses, axis=1).max():.3g} mm; are the units mm?")
    return Motion(key.partition("/")[0], trial_of(key), poses)


def trial_of(key: str) -> str:
    """The trial that a key shows, the same for all copies of it: 'iclone/005/005_03' and 'amc/05/05_03' are '5_3'.

    A part marker ('#2') is dropped, numbers lose their leading zeros, and dance partners share their trial.
    """
    name = key.rpartition("/")[2].partition("#")[0]
    parts = [str(int(part)) if part.isdigit() else part for part in re.split(r"_+", name)]
    if parts[0] == "salsa" and parts[-1].isdigit():
        parts[-1] = str((int(parts[-1]) - 1) % DANCERS_PER_TRIAL + 1)
    return "_".join(parts)


def hold_out(motions: list[Motion], *, share: float, seed: int, named: tuple[str, ...] = ()) -> set[str]:
    """Trials to validate on: the named ones, and others by the seed until every source holds out `share` of its frames.

    Raises InputError if a named trial does not exist.
    """
    unknown = set(named) - {motion.trial for motion in motions}
    if unknown:
        raise InputError(f"no trial {', '.join(sorted(unknown))} in the data; trials are named like {motions[0].trial}")
    frames: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for motion in motions:
        frames[motion.source][motion.trial] += len(motion.poses)
    random = np.random.default_rng(seed)
    held = set(named)
    for _, trials in sorted(frames.items()):
        wanted = share * sum(trials.values())
        for trial in random.permutation(sorted(trials)):
            if sum(count for name, count in trials.items() if name in held) >= wanted:
                break
            held.add(str(trial))
    return held


def pose_directions(motions: list[Motion]) -> list[Tensor]:
    """For every motion its directions (T, 12, 3) float32 (`lifter.body`), heads levelled source by source."""
    directions = [directions_of(torch.from_numpy(motion.poses.astype(np.float32))) for motion in motions]
    for source in {motion.source for motion in motions}:
        rows = [index for index, motion in enumerate(motions) if motion.source == source]
        levelled = level_heads(torch.cat([directions[row] for row in rows]))
        for row, part in zip(rows, levelled.split([len(directions[row]) for row in rows]), strict=True):
            directions[row] = part
    return directions


def emphasised(directions: Tensor) -> Tensor:
    """Directions (N, 12, 3) with poses up to eight times over: the more trunk and thighs lean, the more often.

    Motion capture is mostly standing and walking; without this, people who bend, crouch or lie are lifted badly.
    """

    def height(name: str) -> Tensor:
        return directions[:, DIRECTIONS.index(name), 1]

    lean = 1 - height("trunk") + 1 + (height("l_thigh") + height("r_thigh")) / 2  # 0 standing, 2 lying
    return directions.repeat_interleave(1 + (8 * lean).long().clamp(max=7), 0)


def load_split(path: Path, *, share: float, seed: int, named: tuple[str, ...] = ()) -> tuple[Tensor, Tensor]:
    """Directions (N, 12, 3) of the training and of the held-out frames (`hold_out`) of a 'mocap' file.

    Raises DataError if the file does not fit or has too few trials to hold any out, InputError for unknown trials.
    """
    motions = read_motions(path)
    held = hold_out(motions, share=share, seed=seed, named=named)
    directions = pose_directions(motions)
    train = [d for d, motion in zip(directions, motions, strict=True) if motion.trial not in held]
    val = [d for d, motion in zip(directions, motions, strict=True) if motion.trial in held]
    if not train or not val:
        raise DataError(
            f"{path}: {len({m.trial for m in motions})} trial(s) cannot be split for training and validation"
        )
    return torch.cat(train), torch.cat(val)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, for the record of what a network was trained on."""
    return hashlib.sha256(path.read_bytes()).hexdigest()

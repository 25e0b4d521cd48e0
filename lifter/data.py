"""Motion capture for training the lifters: reading, checking, and the split into training and validation trials.

A file of it is a pose file (.h5, `lifter.posefile`), or a NumPy .npz of motions, key SOURCE/.../TRIAL -> float
(T, 17, 3): H36M17 joints in mm, y up, 30 frames a second; the hip is joint 0, the 'head' may be any point of the head.
"""

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from lifter.body import DIRECTIONS, directions_of, level_heads
from lifter.posefile import read_poses
from pipeline.errors import DataError, InputError
from pipeline.limits import check_archive
from pipeline.skeleton import H36M17

NPZ_FPS = 30.0
DANCERS_PER_TRIAL = 15  # salsa n and n + 15 are the two partners of one dance


@dataclass(frozen=True)
class Motion:
    """One recording: where it comes from, which trial it shows, its poses (T, 17, 3) in mm, y up, and who does what."""

    source: str
    trial: str
    poses: np.ndarray
    subject: str = ""
    action: str = ""
    fps: float = NPZ_FPS

    @property
    def name(self) -> str:
        """What reports call it."""
        return f"{self.source}/{self.trial}"


def read_motions(path: Path) -> list[Motion]:
    """All motions of a 'mocap' file; DataError naming file, key and what was expected if anything does not fit."""
    if path.suffix.lower() in (".h5", ".hdf5") or h5py.is_hdf5(path):
        return [
            replace(
                _motion(path, f"{sequence.source}/{sequence.trial}", sequence.xyz),
                subject=_plain(sequence.subject),
                action=sequence.action or sequence.source,
                fps=sequence.fps,
            )
            for sequence in read_poses(path)
        ]
    try:
        check_archive(path)
        with np.load(path, allow_pickle=False) as archive:
            motions = [_motion(path, key, archive[key]) for key in archive.files]
    except DataError:
        raise
    except Exception as error:  # numpy and zipfile raise nearly all that there are for a damaged file
        raise DataError(f"{path}: not a readable .npz of motions ({error})") from error
    if not motions:
        raise DataError(f"{path}: holds no motions")
    return motions


def _motion(path: Path, key: str, poses: np.ndarray) -> Motion:
    expected = (len(H36M17), 3)
    if not isinstance(poses, np.ndarray):
        raise DataError(f"{path}: {key}: is no array of NumPy")
    if poses.ndim != 3 or poses.shape[1:] != expected or poses.dtype.kind != "f" or not len(poses):
        raise DataError(f"{path}: {key}: expected float (T, 17, 3), got {poses.dtype} {poses.shape}")
    if not np.isfinite(poses).all():
        raise DataError(f"{path}: {key}: has coordinates that are not finite")
    if not 500 < np.ptp(poses, axis=1).max() < 3000:
        raise DataError(f"{path}: {key}: a person of {np.ptp(poses, axis=1).max():.3g} mm; are the units mm?")
    source = key.partition("/")[0]
    return Motion(source, trial_of(key), poses, subject_of(key), action=source)


def trial_of(key: str) -> str:
    """The trial that a key shows, the same for all copies of it: 'iclone/005/005_03' and 'amc/05/05_03' are '5_3'.

    A part marker ('#2') is dropped, numbers lose their leading zeros, and dance partners share their trial.
    """
    name = key.rpartition("/")[2].partition("#")[0]
    parts = [_plain(part) for part in re.split(r"_+", name)]
    if parts[0] == "salsa" and parts[-1].isdecimal() and len(parts[-1]) < 10:
        parts[-1] = str((int(parts[-1]) - 1) % DANCERS_PER_TRIAL + 1)
    return "_".join(parts)


def _plain(name: str) -> str:
    """A name, without leading zeros if it is a number."""
    return (name.lstrip("0") or "0") if name.isdecimal() else name


def subject_of(key: str) -> str:
    """Who moves in a key of an .npz: the number before the trial's, '5' of 'amc/05/05_03', or else its source."""
    first, *rest = trial_of(key).split("_")
    return first if rest and first.isdecimal() else key.partition("/")[0]


def hold_out(
    motions: list[Motion], *, share: float, seed: int, named: tuple[str, ...] = (), by: str = "trial"
) -> set[str]:
    """Trials to validate on: the named ones, and others by the seed until every source holds out `share` of its frames.

    With by="subject" they are subjects, until `share` of all frames is held out: a source may have only one.
    Raises InputError if a named trial or subject does not exist.
    """
    unknown = set(named) - {getattr(motion, by) for motion in motions}
    if unknown:
        example = getattr(motions[0], by)
        raise InputError(f"no {by} {', '.join(sorted(unknown))} in the data; {by}s are named like {example}")
    frames: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for motion in motions:
        frames[motion.source if by == "trial" else ""][getattr(motion, by)] += len(motion.poses)
    random = np.random.default_rng(seed)
    held = set(named)
    for _, parts in sorted(frames.items()):
        wanted = share * sum(parts.values())
        for part in random.permutation(sorted(parts)):
            if sum(count for name, count in parts.items() if name in held) >= wanted:
                break
            held.add(str(part))
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


def split(
    path: Path, *, share: float, seed: int, named: tuple[str, ...] = (), by: str = "trial"
) -> tuple[list[Motion], list[Motion]]:
    """The motions of a file to train on, and those held out (`hold_out`).

    No trial, or with by="subject" no subject, is in both. Raises DataError if the file does not fit or has too few of
    them to hold any out, InputError for unknown ones.
    """
    motions = read_motions(path)
    held = hold_out(motions, share=share, seed=seed, named=named, by=by)
    parts = (
        [motion for motion in motions if getattr(motion, by) not in held],
        [motion for motion in motions if getattr(motion, by) in held],
    )
    if not all(parts):
        count = len({getattr(motion, by) for motion in motions})
        raise DataError(f"{path}: {count} {by}(s) cannot be split for training and validation")
    return parts


def split_directions(train: list[Motion], held: list[Motion]) -> tuple[Tensor, Tensor]:
    """Directions (N, 12, 3) of all frames to train on and of all held out, heads levelled over both."""
    directions = pose_directions([*train, *held])
    return torch.cat(directions[: len(train)]), torch.cat(directions[len(train) :])

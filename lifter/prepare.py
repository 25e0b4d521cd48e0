"""Motion capture files, or folders of them, into one pose file: what `posecli prepare-mocap` does."""

import logging
import re
from collections import Counter
from collections.abc import Sequence as Ordered
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lifter.asf_amc import AsfSkeleton, bone_ends, read_amc, read_asf
from lifter.bvh import joint_positions, read_bvh
from lifter.posefile import Sequence, finite_frames, write_poses
from lifter.rigs import Rig, find_rig, read_rig, to_h36m17
from pipeline.atomic import check_writable
from pipeline.errors import DataError, InputError, PoseError
from pipeline.limits import Allowance
from pipeline.skeleton import H36M17

# Millimetres of a file's unit. "cmu" is that of the CMU database, inches divided by 0.45, which converters keep.
UNITS_MM = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "inch": 25.4, "cmu": 25.4 / 0.45}
LEG_MM = (600.0, 1100.0)  # thigh and shin of grown people; the units are further apart than these two
ANY_LEG_MM = (300.0, 1300.0)  # of anyone, in a unit that is known
UPS = ("y", "z")
WHOLE = 2e-3  # how far a ratio of frame rates may be from a whole number: BVH files round their frame time
REST_JUMP_MM = 100.0  # mean over the joints: no body moves as far from one frame to the next

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PrepareConfig:
    """How files are read; fields are the options of `prepare-mocap`."""

    fps: float = 30.0  # frames a second to come out
    source_fps: float = 120.0  # of .amc files, which do not say theirs
    unit: str | None = None  # a key of UNITS_MM; None: .asf files say theirs, of BVH files it is guessed
    up: str = "y"  # the axis that points up in the files
    rig_map: Path | None = None  # JSON file that names the joints of a rig not in `lifter.rigs`


@dataclass
class Summary:
    """What came of a run."""

    sequences: list[Sequence] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)  # one line for each file
    units: Counter[tuple[str, str]] = field(default_factory=Counter)  # files by rig and unit
    frames_dropped: int = 0  # not finite

    def __str__(self) -> str:
        frames = sum(len(sequence.xyz) for sequence in self.sequences)
        minutes = sum(len(sequence.xyz) / sequence.fps for sequence in self.sequences) / 60
        subjects = len({sequence.subject for sequence in self.sequences})
        lines = [f"{count} files of rig {rig}, {unit}" for (rig, unit), count in sorted(self.units.items())]
        if self.frames_dropped:
            lines.append(f"{self.frames_dropped} frames left out, whose coordinates are not finite")
        if self.refused:
            lines.append(f"{len(self.refused)} files refused")
        counts = f"{len(self.sequences)} sequences, {frames} frames, {minutes:.1f} minutes, {subjects} subjects"
        return "\n".join([*lines, counts])


def prepare_mocap(inputs: Ordered[Path], out: Path, *, config: PrepareConfig) -> Summary:
    """Read motion capture files and write one pose file; a file that does not fit is named in the log and skipped.

    Raises InputError for an option or path that cannot be used, DataError if no file was left, OutputError.
    """
    check_config(config)
    check_writable(out)
    rig = read_rig(config.rig_map) if config.rig_map else None
    summary = Summary()
    skeletons: dict[Path, AsfSkeleton] = {}
    for path in find_files(inputs):
        try:
            _take(summary, path, skeletons, rig=rig, config=config)
        except PoseError as error:
            summary.refused.append(str(error))
            log.warning("%s", error)
    if not summary.sequences:
        raise DataError(f"{out}: not written: none of {len(summary.refused)} files could be used")
    write_poses(out, summary.sequences)
    return summary


def check_config(config: PrepareConfig) -> None:
    """InputError that names the first option out of range."""
    for name in ("fps", "source_fps"):
        if not 1 <= getattr(config, name) <= 1000:
            raise InputError(f"--{name.replace('_', '-')} {getattr(config, name)}: expected a value from 1 to 1000")
    for name, known in (("unit", UNITS_MM), ("up", UPS)):
        if getattr(config, name) not in (None, *known):
            raise InputError(f"--{name} {getattr(config, name)}: expected one of {', '.join(known)}")


def find_files(inputs: Ordered[Path]) -> list[Path]:
    """The .bvh and .amc files among the inputs and in the folders among them, each once; InputError if there are none.

    An .asf file stands for all .amc files beside it.
    """
    found: dict[Path, None] = {}
    for path in inputs:
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.suffix.lower() in (".bvh", ".amc"))
        elif not path.is_file():
            raise InputError(f"{path}: no such file or folder")
        elif path.suffix.lower() == ".asf":
            files = sorted(file for file in path.parent.iterdir() if file.suffix.lower() == ".amc")
        elif path.suffix.lower() in (".bvh", ".amc"):
            files = [path]
        else:
            raise InputError(f"{path}: expected .bvh, .asf or .amc files, or folders of them")
        found |= dict.fromkeys(files)
    if not found:
        raise InputError(f"{', '.join(map(str, inputs))}: no .bvh or .amc files there")
    return list(found)


@dataclass(frozen=True)
class Recording:
    """What a file holds, in its own terms."""

    joints: tuple[str, ...]
    positions: np.ndarray  # (T, J, 3), the file's unit and axes
    fps: float
    unit_mm: float | None  # None: the file does not say


def _read(path: Path, skeletons: dict[Path, AsfSkeleton], *, source_fps: float) -> Recording:
    """One file; skeletons that have been read are kept."""
    if path.suffix.lower() == ".bvh":
        bvh = read_bvh(path)
        return Recording(bvh.joints, joint_positions(bvh), bvh.fps, None)
    asf = skeleton_of(path)
    if asf not in skeletons:
        skeletons[asf] = read_asf(asf)
    skeleton = skeletons[asf]
    return Recording(*bone_ends(skeleton, read_amc(path, skeleton)), source_fps, skeleton.mm)


def _take(
    summary: Summary, path: Path, skeletons: dict[Path, AsfSkeleton], *, rig: Rig | None, config: PrepareConfig
) -> None:
    """Add the sequence of one file to the summary."""
    recording = _read(path, skeletons, source_fps=config.source_fps)
    found = rig or find_rig(recording.joints, path=path)
    xyz = to_h36m17(found, recording.joints, recording.positions, path=path)
    factor, unit = unit_of(xyz, path=path, given=config.unit, stated=recording.unit_mm)
    xyz = upright(xyz * factor, path=path, up=config.up)
    if starts_at_rest(xyz):
        log.info("%s: its first frame is a rest pose, left out", path)
        xyz = xyz[1:]
    Allowance(path).take(round(xyz.nbytes * config.fps / recording.fps))  # a small file may show a frame in ten seconds
    xyz = resample(xyz, recording.fps, config.fps)
    finite = finite_frames(xyz, name=str(path))
    subject, trial = names_of(path)
    log.info("%s: rig %s, %s; %d frames, from %.4g fps", path, found.name, unit, len(finite), recording.fps)
    summary.frames_dropped += len(xyz) - len(finite)
    summary.units[found.name, unit] += 1
    summary.sequences.append(
        Sequence(subject, "unknown", trial, config.fps, finite.astype(np.float32), source=found.name)
    )


def skeleton_of(path: Path) -> Path:
    """The .asf file of an .amc file: SUBJECT.asf of SUBJECT_TRIAL.amc, or the only one beside it; DataError if none."""
    beside = sorted(file for file in path.parent.iterdir() if file.suffix.lower() == ".asf")
    subject = path.stem.rpartition("_")[0]
    named = [file for file in beside if file.stem == subject]
    if len(named or beside) != 1:
        raise DataError(f"{path}: its skeleton is missing; put {subject or path.stem}.asf beside it")
    return (named or beside)[0]


def names_of(path: Path) -> tuple[str, str]:
    """Subject and trial of a file: of 02_01.amc and walk_02_01.bvh '02' and '02_01', else its folder and its name."""
    numbers = re.search(r"(?:^|[^0-9])(\d+)_(\d+)$", path.stem)
    if numbers:
        return numbers[1], f"{numbers[1]}_{numbers[2]}"
    return path.absolute().parent.name or path.stem, path.stem


def unit_of(xyz: np.ndarray, *, path: Path, given: str | None, stated: float | None) -> tuple[float, str]:
    """Millimetres of the unit of poses (T, 17, 3), and a text that says which it is and how that is known.

    It is the `given` key of UNITS_MM, or else what the file has `stated`, or else the one in which thigh and shin are
    as long as a grown person's. Raises DataError if there is none, or if nobody is as large or small as that.
    """

    def length(start: str, end: str) -> np.ndarray:
        return np.linalg.norm(xyz[:, H36M17.index(end)] - xyz[:, H36M17.index(start)], axis=-1)

    legs = [length(f"{side}_hip", f"{side}_knee") + length(f"{side}_knee", f"{side}_ankle") for side in "lr"]
    finite = np.stack(legs)[np.isfinite(legs)]
    leg = float(np.median(finite)) if finite.size else 0.0
    if given or stated:
        factor, text = (UNITS_MM[given], f"unit {given}") if given else (stated or 1.0, f"unit {stated:.4g} mm")
        if not ANY_LEG_MM[0] <= leg * factor <= ANY_LEG_MM[1]:
            raise DataError(f"{path}: legs of {leg * factor:.3g} mm with {text}; nobody has such, give another --unit")
        return factor, f"{text}, as {'given' if given else 'the .asf says'}"
    fits = [unit for unit, factor in UNITS_MM.items() if LEG_MM[0] <= leg * factor <= LEG_MM[1]]
    if len(fits) != 1:
        raise DataError(f"{path}: legs of {leg:.3g} units, which no grown person has in any unit; give --unit")
    return UNITS_MM[fits[0]], f"unit {fits[0]}, guessed from the length of the legs"


def upright(xyz: np.ndarray, *, path: Path, up: str) -> np.ndarray:
    """Poses (T, 17, 3) with `up` as their vertical axis with y up; a warning if that is not where the bodies point."""
    if up == "z":
        xyz = np.stack([xyz[..., 0], xyz[..., 2], -xyz[..., 1]], -1)
    feet = (xyz[:, H36M17.index("l_ankle")] + xyz[:, H36M17.index("r_ankle")]) / 2
    body = np.nanmedian(xyz[:, H36M17.index("head_top")] - feet, axis=0)
    if body[1] < 0.5 * np.linalg.norm(body):
        log.warning("%s: the body mostly lies if %s is up; should it stand, give another --up", path, up)
    return xyz


def starts_at_rest(xyz: np.ndarray) -> bool:
    """Whether the first frame of (T, J, 3) in mm stands apart from the motion, as a rest pose put before it does.

    Files that begin with their character's bind pose have zero or T-pose rotations there, but some motions begin
    with a true T-pose; what tells the two apart is that no body gets from one frame to the next like that.
    """
    if len(xyz) < 3:
        return False
    steps = np.linalg.norm(np.diff(xyz[:7], axis=0), axis=-1).mean(1)
    return bool(steps[0] > REST_JUMP_MM and steps[0] > 5 * steps[1:].max())


def resample(xyz: np.ndarray, fps: float, target: float) -> np.ndarray:
    """Positions (T, J, 3) at `fps` frames a second at `target`: every n-th frame, or interpolated linearly in time."""
    ratio = fps / target
    step = round(ratio)
    if step >= 1 and abs(ratio - step) <= WHOLE * step:
        return xyz[::step]
    places = np.arange(0, len(xyz) - 1 + 1e-6, ratio)
    first = np.minimum(places.astype(int), max(len(xyz) - 2, 0))
    share = (places - first)[:, None, None]
    return xyz[first] * (1 - share) + xyz[np.minimum(first + 1, len(xyz) - 1)] * share

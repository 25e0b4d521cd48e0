"""Joint names of motion capture rigs, and which of their points stand for the joints of H36M17.

A table gives for every joint of H36M17 the point of the rig, or several points whose mean it is. The limbs mean the
same everywhere: hip, knee and ankle, shoulder, elbow and wrist joint. The pelvis is half-way between the hip joints,
as Human3.6M has it, since rigs put their root anywhere from the hips to the navel. The rest differs:

    rig          spine                    thorax                   nose (skull's base)   head_top
    cmu-asf      end of upperback         end of thorax            end of upperneck      end of head
    cmu-bvh      Chest, above the waist   Chest2, below the arms   Neck                  end of Head
    iclone       Spine01                  NeckTwist01              NeckTwist02           Head, between the ears
    mixamo       Spine1                   Neck, its base           Head, its base        HeadTop_End
    biped-spine1 Spine1                   Neck, its base           Head, its base        end of Head
    biped        Spine                    Neck, its base           Head, its base        end of Head

No rig has a nose: the point is on the neck's axis, where it stands in the middle between Human3.6M's thorax and
head. What trains on these poses takes only the directions of limbs, trunk and head (`lifter.body`).

A name may have a prefix up to a colon, as Mixamo's "mixamorig:Hips", which is left out before it is looked up.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import DataError, InputError
from pipeline.json_text import parse_json
from pipeline.limits import check_files
from pipeline.skeleton import H36M17

LISTED = 60  # joints of a file that an error names at most
PREFIXES = ("mixamorig_",)  # besides whatever ends in a colon


@dataclass(frozen=True)
class Rig:
    """How a rig's points become joints: joint of H36M17 -> the points that it is the mean of."""

    name: str
    points: dict[str, tuple[str, ...]]


def _rig(name: str, table: str) -> Rig:
    """Build a rig from lines of 'joint = point'; l and r list hip, knee, ankle, shoulder, elbow and wrist."""
    points: dict[str, tuple[str, ...]] = {}
    for line in table.strip().splitlines():
        left, _, right = line.partition("=")
        if left.strip() in ("l", "r"):
            parts = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
            points |= {f"{left.strip()}_{part}": (point,) for part, point in zip(parts, right.split(), strict=True)}
        else:
            points[left.strip()] = (right.strip(),)
    return Rig(name, {"pelvis": points["l_hip"] + points["r_hip"], **points})


RIGS = (
    _rig(  # the CMU database's own .asf files; a name is the far end of that bone
        "cmu-asf",
        """
        l = lhipjoint lfemur ltibia lclavicle lhumerus lradius
        r = rhipjoint rfemur rtibia rclavicle rhumerus rradius
        spine = upperback
        thorax = thorax
        nose = upperneck
        head_top = head
        """,
    ),
    _rig(  # the same bones turned into BVH, names of the joints where the bones begin
        "cmu-bvh",
        """
        l = LeftHip LeftKnee LeftAnkle LeftShoulder LeftElbow LeftWrist
        r = RightHip RightKnee RightAnkle RightShoulder RightElbow RightWrist
        spine = Chest
        thorax = Chest2
        nose = Neck
        head_top = Head end
        """,
    ),
    _rig(  # characters of iClone and Character Creator
        "iclone",
        """
        l = CC_Base_L_Thigh CC_Base_L_Calf CC_Base_L_Foot CC_Base_L_Upperarm CC_Base_L_Forearm CC_Base_L_Hand
        r = CC_Base_R_Thigh CC_Base_R_Calf CC_Base_R_Foot CC_Base_R_Upperarm CC_Base_R_Forearm CC_Base_R_Hand
        spine = CC_Base_Spine01
        thorax = CC_Base_NeckTwist01
        nose = CC_Base_NeckTwist02
        head_top = CC_Base_Head
        """,
    ),
    _rig(
        "mixamo",
        """
        l = LeftUpLeg LeftLeg LeftFoot LeftArm LeftForeArm LeftHand
        r = RightUpLeg RightLeg RightFoot RightArm RightForeArm RightHand
        spine = Spine1
        thorax = Neck
        nose = Head
        head_top = HeadTop_End
        """,
    ),
    _rig(  # MotionBuilder's names, as most converters and capture suits write them
        "biped-spine1",
        """
        l = LeftUpLeg LeftLeg LeftFoot LeftArm LeftForeArm LeftHand
        r = RightUpLeg RightLeg RightFoot RightArm RightForeArm RightHand
        spine = Spine1
        thorax = Neck
        nose = Head
        head_top = Head end
        """,
    ),
    _rig(
        "biped",
        """
        l = LeftUpLeg LeftLeg LeftFoot LeftArm LeftForeArm LeftHand
        r = RightUpLeg RightLeg RightFoot RightArm RightForeArm RightHand
        spine = Spine
        thorax = Neck
        nose = Head
        head_top = Head end
        """,
    ),
)


def plain_name(name: str) -> str:
    """A joint's name without the prefix of its character."""
    name = name.rpartition(":")[2]
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def find_rig(joints: tuple[str, ...], *, path: Path) -> Rig:
    """The first of `RIGS` whose points are all among a file's joints; DataError that lists them if there is none."""
    names = {plain_name(joint) for joint in joints}
    for rig in RIGS:
        if all(names.issuperset(points) for points in rig.points.values()):
            return rig
    listed = ", ".join(joints[:LISTED]) + (f" and {len(joints) - LISTED} more" if len(joints) > LISTED else "")
    raise DataError(
        f"{path}: of no known rig; give --map FILE.json with the joint of this file for each of "
        f'{", ".join(H36M17.joints)}, such as {{"l_hip": "{joints[0]}", ...}}; its joints are {listed}'
    )


def read_rig(path: Path) -> Rig:
    """A rig from a JSON file {joint of H36M17: point of the rig, or a list of points whose mean it is}.

    The pelvis may be left out: then it is half-way between the hips. Raises InputError if the file does not fit.
    """
    check_files([path], named=path)
    try:
        content = parse_json(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"--map {path}: not a readable JSON file ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f'--map {path}: expected {{"l_hip": "JOINT OF THE FILE", ...}}')
    points: dict[str, tuple[str, ...]] = {}
    for joint, value in content.items():
        names = value if isinstance(value, list) else [value]
        if joint not in H36M17.joints or not names or not all(isinstance(name, str) for name in names):
            raise InputError(f"--map {path}: {joint!r}: expected one of {', '.join(H36M17.joints)}, and a joint's name")
        points[joint] = tuple(plain_name(name) for name in names)
    absent = [joint for joint in H36M17.joints if joint not in points and joint != "pelvis"]
    if absent:
        raise InputError(f"--map {path}: has no {', '.join(absent)}")
    return Rig("map", {"pelvis": points["l_hip"] + points["r_hip"], **points})


def to_h36m17(rig: Rig, joints: tuple[str, ...], positions: np.ndarray, *, path: Path) -> np.ndarray:
    """Positions (T, J, 3) of a file's joints as (T, 17, 3) in the order of H36M17.

    Of joints with the same name the first counts. Raises DataError if the rig has a point that the file lacks.
    """
    names = [plain_name(joint) for joint in joints]
    absent = sorted({point for points in rig.points.values() for point in points} - set(names))
    if absent:
        raise DataError(f"{path}: has no joint {', '.join(absent)}; correct --map; its joints are {', '.join(joints)}")
    columns = [[names.index(point) for point in rig.points[joint]] for joint in H36M17.joints]
    return np.stack([positions[:, column].mean(1) for column in columns], 1)

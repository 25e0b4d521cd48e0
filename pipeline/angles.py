"""Joint angles of a 3D pose, as people who look at movement know them: knee, hip, elbow and shoulder, left and right.

An angle is that between two bones, both taken in the direction away from the trunk, degrees, 0 to 180. So 0 is a
straight knee or elbow, a thigh in line with the trunk, an arm that hangs down along it; more is more flexion. It has no
sign: a thigh or an arm that is raised to the front, the side or the back by as much has the same angle.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.skeleton import H36M17


@dataclass(frozen=True)
class JointAngle:
    """The angle between two bones; a bone is (start, end), joints of H36M17."""

    name: str
    side: str  # 'left' or 'right'
    near: tuple[str, str]
    far: tuple[str, str]


def _of_both_sides(name: str, near: tuple[str, str], far: tuple[str, str]) -> tuple[JointAngle, JointAngle]:
    """The angle on the left and on the right, from names of joints with a place for the side."""

    def on(side: str) -> JointAngle:
        bones = [(start.format(side[0]), end.format(side[0])) for start, end in (near, far)]
        return JointAngle(name, side, *bones)

    return on("left"), on("right")


TRUNK = ("thorax", "pelvis")
ANGLES = (
    *_of_both_sides("knee", ("{}_hip", "{}_knee"), ("{}_knee", "{}_ankle")),
    *_of_both_sides("hip", TRUNK, ("{}_hip", "{}_knee")),
    *_of_both_sides("elbow", ("{}_shoulder", "{}_elbow"), ("{}_elbow", "{}_wrist")),
    *_of_both_sides("shoulder", TRUNK, ("{}_shoulder", "{}_elbow")),
)


def joint_angles(points: np.ndarray) -> np.ndarray:
    """Angles (..., 8), degrees, in the order of ANGLES, of points (..., 17, 3) of H36M17 in any unit and axes.

    A bone without length has no direction; its angles are 0.
    """
    return np.stack([_between(_bone(points, angle.near), _bone(points, angle.far)) for angle in ANGLES], -1)


def _bone(points: np.ndarray, ends: tuple[str, str]) -> np.ndarray:
    start, end = H36M17.indices(ends)
    return points[..., end, :].astype(np.float64) - points[..., start, :]


def _between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angles (...,) between vectors (..., 3), degrees. The cosine alone would be blunt near 0 and 180."""
    sine, cosine = np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(-1)
    return np.degrees(np.arctan2(sine, cosine))

"""How many pictures a second of one core's time the renderer draws from 1280x720 frames.

The bones are flung about the whole picture, which takes longer than people do.

python -m tests.benchmarks.bench_render
"""

import time

import cv2
import numpy as np

from pipeline.render import Figure, Renderer
from pipeline.skeleton import H36M17, LSP14

FRAMES = 300


def main() -> None:
    """Print the rate with nobody, one person and three people, in a view that stands still and one that follows."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (720, 1280, 3), np.uint8)
    poses = rng.uniform((-500, -500, 0), (500, 500, 1700), (FRAMES, len(H36M17), 3))
    joints = rng.uniform((400, 50), (800, 700), (FRAMES, len(LSP14), 2))
    seconds = np.arange(FRAMES) / 30
    for view, metres in (("still", 0), ("following", 20)):
        way = poses + np.linspace((0, 0, 0), (1000 * metres, 0, 0), FRAMES)[:, None]
        renderer = Renderer((1280, 720), [way], times=[seconds], skeleton_2d=LSP14, skeleton_3d=H36M17)
        for people in (0, 1, 3):
            start = time.process_time()
            for xy, xyz, time_s in zip(joints, way, seconds, strict=True):
                renderer.draw(frame, [Figure(xy, np.ones(len(LSP14)), xyz)] * people, time_s)
            rate = FRAMES / (time.process_time() - start)
            print(f"{view} view, {people} people: {rate:.0f} pictures/s of {renderer.size[0]}x{renderer.size[1]}")


if __name__ == "__main__":
    main()

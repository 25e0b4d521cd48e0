"""A window on the screen that shows pictures as they are made."""

import subprocess
import sys

import cv2
import numpy as np

from pipeline.errors import InputError

WIDEST = 1280  # pixels of a new window, which the user may drag larger; smaller pictures are shown as they are
ENDING_KEYS = (ord("q"), ord("Q"), 27)  # 27: Esc
TRIAL = "import cv2; cv2.namedWindow('posecli'); cv2.destroyAllWindows()"
TRIAL_S = 30.0


def check_screen() -> None:
    """InputError unless a window can be opened here.

    It is tried in a process of its own: without a screen, the library behind the window ends the whole program.
    """
    try:
        trial = subprocess.run([sys.executable, "-c", TRIAL], capture_output=True, timeout=TRIAL_S, check=False)
        opened = trial.returncode == 0
    except (subprocess.TimeoutExpired, OSError):
        opened = False
    if not opened:
        raise InputError("--show: there is no screen to open a window on; leave it out and give --out FILE.mp4")


class Window:
    """A window, from when it is entered until it is left."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._sized = False
        self.left = False  # the user has closed it, or pressed q or Esc in it

    def __enter__(self) -> "Window":
        cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        return self

    def __exit__(self, *_: object) -> None:
        cv2.destroyAllWindows()

    def show(self, image: np.ndarray) -> None:
        """Show an image (H, W, 3) uint8 BGR from now on."""
        if not self._sized:
            height, width = image.shape[:2]
            shrink = min(1.0, WIDEST / width)
            cv2.resizeWindow(self._title, round(width * shrink), round(height * shrink))
            self._sized = True
        cv2.imshow(self._title, image)

    def react(self) -> None:
        """Let the window react to what the user does."""
        key = cv2.waitKey(1) & 0xFF
        self.left = self.left or key in ENDING_KEYS or not self._is_open()

    def _is_open(self) -> bool:
        try:
            return cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1
        except cv2.error:  # what some kinds of windows say when they are closed
            return False

"""How well a finder finds: average precision, recall by size, and false alarms where nobody is."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from hourglass.finder import Finder
from hourglass.scene_samples import SceneBatch
from pipeline.crop import overlaps

OVERLAP = 0.5  # intersection over union of regions from which on someone counts as found
SURE = 0.3  # score from which on recall and false alarms count
BINS = (0, 48, 96, 192, 384, 10_000)  # sides of regions, input pixels


@dataclass
class FinderScore:
    """Collects what was found in scenes whose people are known."""

    found: list[tuple[float, bool]] = field(default_factory=list)  # score, and whether someone is there
    people: list[tuple[float, bool]] = field(default_factory=list)  # side, and whether found with a score of `SURE`
    empty: list[int] = field(default_factory=list)  # of every scene without anybody, false alarms from `SURE` on

    def add(self, found: np.ndarray, people: np.ndarray, ignored: np.ndarray) -> None:
        """One scene: found (M, 4), best first, the people (P, 3) who are in it, and those (Q, 3) who do not count.

        Each is found once, by the best that overlaps; what overlaps with one who does not count is left out.
        """
        open_, match = np.ones(len(people), bool), np.zeros(len(people))
        shared = overlaps(found[:, :3], people)
        excused = overlaps(found[:, :3], ignored).max(1, initial=0) > OVERLAP
        alarms = 0
        for row, score in enumerate(found[:, 3]):
            candidates = np.where(open_, shared[row], 0)
            best = int(candidates.argmax()) if len(people) else -1
            if best >= 0 and candidates[best] > OVERLAP:
                open_[best], match[best] = False, score
                self.found.append((float(score), True))
            elif not excused[row]:
                self.found.append((float(score), False))
                alarms += score >= SURE
        self.people += zip(people[:, 2].tolist(), (match >= SURE).tolist(), strict=True)
        if not len(people) and not len(ignored):
            self.empty.append(int(alarms))

    def summary(self) -> dict[str, Any]:
        """Percentages: average precision, precision and recall at `SURE`, recall by side; alarms per empty scene.

        None where there is nothing to count.
        """
        sides = np.array([side for side, _ in self.people])
        hit = np.array([there for _, there in self.people], bool)
        sure = [right for score, right in self.found if score >= SURE]
        by_side = {}
        for low, high in pairwise(BINS):
            chosen = (sides >= low) & (sides < high)
            if chosen.any():
                by_side[f"{low}-{high}" if high < BINS[-1] else f"{low}-"] = 100 * float(hit[chosen].mean())
        return {
            "ap@0.5": 100 * average_precision(self.found, len(self.people)),
            "precision": 100 * float(np.mean(sure)) if sure else None,
            "recall": 100 * float(hit.mean()) if len(hit) else None,
            "recall_by_side": by_side,
            "people": len(self.people),
            "empty_scenes": len(self.empty),
            "alarms_per_empty_scene": float(np.mean(self.empty)) if self.empty else None,
        }


def average_precision(found: list[tuple[float, bool]], people: int) -> float:
    """Area under the curve of precision over recall, precision made falling (Everingham et al. 2010, VOC): 0 to 1."""
    if not found or not people:
        return 0.0
    right = np.array([there for _, there in sorted(found, key=lambda one: -one[0])])
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    return float(falling[right].sum() / people)


def score_finder(finder: Finder, batches: list[SceneBatch]) -> dict[str, Any]:
    """What a finder makes of composed scenes."""
    score = FinderScore()
    for images, people, labelled, ignored in batches:
        for row, found in enumerate(finder.decoded(images.numpy(), lowest=0.05)):
            score.add(found, people[row][labelled[row]].numpy(), people[row][ignored[row]].numpy())
    return score.summary()

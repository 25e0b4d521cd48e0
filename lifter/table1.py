"""The comparison of Seth (2018), table 1, as one command: every lifter, every kind of 2D input, several seeds.

Everything lies in one folder, and what has been trained and measured already is not done again:

    MODEL-INPUT.seedN.safetensors    weights, with log (.jsonl), curves and resume file beside them
    MODEL-INPUT.seedN.json           what `lifter.evaluate` says of them
    table1.md, table1.json           the table, medians over seeds, and what it says of the paper's order
    figure3.png                      2D input, true and predicted 3D
    figure4.png                      the gradient's way through DeepBase1 and DeepBase2
    curves.png                       loss, error and rate of the first seed's runs
"""

import json
import logging
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lifter.evaluate import evaluate
from lifter.figures import draw_curves, draw_gradient_flow, draw_poses
from lifter.predict import Lifter
from lifter.protocol import examples
from lifter.recipe import TrainLifterConfig, check_options, with_recipe
from lifter.registry import LIFTERS
from lifter.report import markdown, terminal
from lifter.samples import FixedSets, fixed_sets
from lifter.seeds import seed_file, train_unless_done
from pipeline.atomic import write_whole
from pipeline.device import open_device
from pipeline.errors import InputError, OutputError
from pipeline.json_text import parse_json
from pipeline.jsonl import read_lines
from pipeline.weights import file_sha256

log = logging.getLogger(__name__)

INPUT_NAMES = {"gt": "GT", "sh": "SH"}
# The order of the paper's means, best first, by kind of input: (better, worse).
PAPER_ORDER = {
    "gt": (("deepbase2", "gan"), ("gan", "deepbase1"), ("deepbase1", "baseline")),
    "sh": (("deepbase2", "baseline"), ("baseline", "deepbase1")),
}


@dataclass(frozen=True)
class Run:
    """One training of the comparison."""

    model: str
    points: str
    config: TrainLifterConfig

    @property
    def label(self) -> str:
        """What tables call it and its siblings of other seeds."""
        return f"{self.model} ({INPUT_NAMES.get(self.points, self.points)})"

    @property
    def result_file(self) -> Path:
        """Where its figures are kept."""
        return self.config.out.with_suffix(".json")


def plan(
    data: str,
    out: Path,
    *,
    models: Sequence[str] = tuple(LIFTERS),
    inputs: Sequence[str] = ("gt",),
    seeds: int = 1,
    recipe: str = "paper",
    changes: dict[str, Any] | None = None,
) -> list[Run]:
    """The trainings of a comparison, for each kind of input seed by seed, so that a stopped one has whole seeds.

    `changes` are fields of TrainLifterConfig that take the place of the recipe's, alike for all models. Raises
    InputError if there is nothing to train.
    """
    if not (models and inputs and seeds > 0):
        raise InputError("nothing to compare: name at least one of --models, one of --points, and one of --seeds")
    runs = []
    for points in inputs:
        for seed in range(1, seeds + 1):
            for model in models:
                name = seed_file(out / f"{model}-{points}.safetensors", seed)
                config = with_recipe(TrainLifterConfig(model, data, name, cameras="fixed"), recipe)
                config = replace(config, **(changes or {}), seed=seed, points=points)
                runs.append(Run(model, points, config))
    return runs


def table1(runs: Sequence[Run], out: Path) -> dict[str, Any]:
    """Do all runs of a plan that are not done yet, and write table and figures; returns the table's figures.

    A run that was interrupted goes on where it last saved, at most an epoch before. Raises OutputError if `out` cannot
    be made, and what `train_lifter` raises.
    """
    for run in runs:
        check_options(run.config)
    # all data are read first: what does not fit is said at once, and leaves no folder behind
    sets = {points: fixed_sets(run.config) for points, run in {run.points: run for run in runs}.items()}
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: the folder cannot be made ({error.strerror}); choose another --out") from error
    results: dict[str, list[dict[str, Any]]] = {}
    content: dict[str, Any] = {}
    for number, run in enumerate(runs, 1):
        log.warning("%s, seed %d: %d of %d", run.label, run.config.seed, number, len(runs))
        results.setdefault(run.label, []).append(measured(run, sets[run.points]))
        content = {"results": results, "order": orders(runs[:number], results)}
        write_table(content, out)
    write_figures([run for run in runs if run.points == runs[0].points], sets[runs[0].points], out)
    return content


def write_table(content: dict[str, Any], out: Path) -> None:
    """The table of what has been measured so far."""
    write_whole(out / "table1.json", (json.dumps(content, indent=2) + "\n").encode())
    order = "\n".join(f"- {line}" for line in content["order"])
    write_whole(out / "table1.md", f"{markdown(content['results'])}\n### The paper's order\n\n{order}\n".encode())


def measured(run: Run, sets: FixedSets) -> dict[str, Any]:
    """The figures of a run on the test set, trained and measured first unless that was done before."""
    train_unless_done(run.config, resume=True, sets=sets)
    digest = file_sha256(run.config.out)
    stored = _stored(run.result_file)
    if stored.get("header", {}).get("sha256") == digest:
        return stored
    lifter = Lifter.load(run.config.out, open_device(run.config.device))
    header = {
        "weights": run.config.out.name,
        "sha256": digest,
        "flip_test": False,
        "input": INPUT_NAMES.get(run.points, run.points),
        "samples": (lifter.provenance or {}).get("samples"),
    }
    result = evaluate(lifter.lift_views(sets.test), sets.test, header=header)
    write_whole(run.result_file, (json.dumps(result, indent=2) + "\n").encode())
    return result


def _stored(path: Path) -> dict[str, Any]:
    """The figures in a file; none if it is not there or damaged."""
    try:
        content = parse_json(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_figures(runs: Sequence[Run], sets: FixedSets, out: Path) -> None:
    """The pictures of the first seed's runs on one kind of input."""
    first = {run.model: run for run in runs if run.config.seed == runs[0].config.seed}
    best = first.get("deepbase2", runs[0])
    lifter = Lifter.load(best.config.out, torch.device("cpu"))
    draw_poses(out / "figure3.png", examples(lifter, sets.test))
    logs = {model: read_lines(run.config.log_file) for model, run in first.items()}
    draw_curves(out / "curves.png", logs)
    deep = {model: rows for model, rows in logs.items() if model.startswith("deepbase")}
    if deep:
        draw_gradient_flow(out / "figure4.png", deep)


def orders(runs: Sequence[Run], results: dict[str, list[dict[str, Any]]]) -> list[str]:
    """A line for each pair that the paper ranks: confirmed, refuted, or not told apart by these seeds."""
    lines = []
    labels = {(run.model, run.points): run.label for run in runs}
    for points in dict.fromkeys(run.points for run in runs):
        for better, worse in PAPER_ORDER.get(points, ()):
            if (better, points) in labels and (worse, points) in labels:
                pair = labels[better, points], labels[worse, points]
                errors = [[result["protocol1"]["mean17"] for result in results[label]] for label in pair]
                lines.append(verdict(*pair, *errors))
    return lines


def verdict(better: str, worse: str, errors: list[float], others: list[float]) -> str:
    """Whether the first is better than the second, as the paper has it, by errors over seeds."""
    medians = statistics.median(errors), statistics.median(others)
    told = f"{better} {medians[0]:.1f} mm, {worse} {medians[1]:.1f} mm"
    if min(len(errors), len(others)) < 2:
        return f"{told}: one seed, which shows nothing; the paper has the first better"
    if max(errors) < min(others):
        return f"{told}: the paper's order is confirmed by all {len(errors)} seeds"
    if min(errors) > max(others):
        return f"{told}: the paper's order is refuted by all {len(errors)} seeds"
    return f"{told}: the ranges over {len(errors)} seeds overlap; the paper has the first better"


def table_text(content: dict[str, Any]) -> str:
    """The table for a terminal."""
    return terminal(content["results"]) + "\nThe paper's order:\n" + "\n".join(f"  {line}" for line in content["order"])

"""Break files and read them: `python -m tests.fuzz --inputs 10000 --seed 1 [--kind video]`.

Prints a table by kind, and what was found; the inputs that did it are kept in --keep. Exit code 1 if there are any.
`--again FILE` reads a file that was kept.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

from tests.fuzz.damage import broken
from tests.fuzz.kinds import KINDS
from tests.fuzz.pool import FINDINGS, Input, Outcome, read_all


def prepared(folder: Path, kinds: Sequence[str]) -> dict[str, list[Path]]:
    """Sound files of each kind in folder/KIND: paths relative to that."""
    found = {}
    for kind in kinds:
        home = folder / kind
        home.mkdir()
        found[kind] = [path.relative_to(home) for path in KINDS[kind].prepare(home)]
    return found


def make_inputs(folder: Path, files: dict[str, list[Path]], *, count: int, seed: int) -> Iterator[Input]:
    """`count` broken files, as many of each kind; the same for a seed, a kind and a number whatever the others are."""
    for number in range(count):
        kind = list(files)[number % len(files)]
        random = Random(f"{seed} {kind} {number // len(files)}")
        chosen = random.choice(files[kind])
        sound = {name: (folder / kind / name).read_bytes() for name in files[kind]}
        others = [data for name, data in sound.items() if name.suffix == chosen.suffix] or list(sound.values())
        data = broken(sound[chosen], random, suffix=chosen.suffix, others=others)
        yield Input(kind, str(chosen), data, number // len(files))


def run(kinds: Sequence[str], *, inputs: int, seed: int, workers: int) -> Iterator[tuple[Input, Outcome]]:
    """Break and read so many files."""
    with tempfile.TemporaryDirectory(prefix="posecli-fuzz-") as name:
        folder = Path(name)
        files = prepared(folder, kinds)
        yield from read_all(make_inputs(folder, files, count=inputs, seed=seed), folder, workers=workers)


def table(results: dict[str, list[Outcome]]) -> str:
    """The outcomes by kind."""
    columns = ("inputs", "accepted", "refused", *FINDINGS, "most MB", "slowest s", "s")
    lines = ["| kind | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    everything = [one for outcomes in results.values() for one in outcomes]
    for kind, outcomes in [*results.items(), ("all", everything)]:
        counts = Counter(one.verdict for one in outcomes)
        figures = [len(outcomes), *(counts[verdict] for verdict in ("accepted", "refused", *FINDINGS))]
        most, slowest = (max(getattr(one, name) for one in outcomes) for name in ("memory_mb", "seconds"))
        total = sum(one.seconds for one in outcomes)
        row = [*map(str, figures), f"{most:.0f}", f"{slowest:.2f}", f"{total:.0f}"]
        lines.append(f"| {kind} | " + " | ".join(row) + " |")
    return "\n".join(lines)


def keep(folder: Path, one: Input, outcome: Outcome, *, seed: int) -> Path:
    """Store an input for --again, and beside it what was said."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{one.kind}@{seed}@{one.number}@{one.name.replace('/', '@')}"
    path.write_bytes(one.data)
    path.with_name(path.name + ".txt").write_text(f"{outcome.verdict}\n{outcome.said}")
    return path


def again(path: Path) -> Outcome:
    """Read an input that was kept, in a process of its own."""
    kind, _, _, name = path.name.split("@", 3)
    one = Input(kind, name.replace("@", "/"), path.read_bytes())
    with tempfile.TemporaryDirectory(prefix="posecli-fuzz-") as folder:
        prepared(Path(folder), [kind])
        return next(read_all([one], Path(folder), workers=1))[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="repeatable; all if none is named")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-found"))
    parser.add_argument("--again", type=Path)
    options = parser.parse_args()
    if options.again:
        print(again(options.again))
        return 0
    results: dict[str, list[Outcome]] = defaultdict(list)
    found, began = Counter[str](), time.monotonic()
    kinds = options.kind or list(KINDS)
    for one, outcome in run(kinds, inputs=options.inputs, seed=options.seed, workers=options.workers):
        results[one.kind].append(outcome)
        if outcome.verdict in FINDINGS:
            path = keep(options.keep, one, outcome, seed=options.seed)
            summary = (outcome.said.strip().splitlines() or [""])[-1][:150]
            found[f"{outcome.verdict} {one.kind}: {summary}"] += 1
            print(f"{outcome.verdict}: {path}: {summary}", file=sys.stderr)
    print(table(results))
    for line, count in found.most_common():
        print(f"{count} x {line}")
    print(f"{time.monotonic() - began:.0f} s")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())

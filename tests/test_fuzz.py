"""A sample of the fuzz: some broken files of every kind end in a clear error or are read, with fixed seeds."""

from collections import Counter
from pathlib import Path

import pytest

from tests.fuzz.__main__ import main, make_inputs, prepared, run
from tests.fuzz.kinds import KINDS
from tests.fuzz.pool import FINDINGS, Input, Limits, read_all

A_KIND = 24


def test_broken_files_are_read_or_refused():
    found = list(run(list(KINDS), inputs=A_KIND * len(KINDS), seed=1, workers=2))
    bad = [f"{one.kind} {one.name} {one.number}: {outcome}" for one, outcome in found if outcome.verdict in FINDINGS]
    assert not bad, "\n".join(bad)
    verdicts = Counter((one.kind, outcome.verdict) for one, outcome in found)
    assert len(found) == A_KIND * len(KINDS)
    assert all(verdicts[kind, "refused"] >= A_KIND // 4 for kind in KINDS), verdicts
    assert sum(verdicts[kind, "accepted"] for kind in KINDS) > len(KINDS), verdicts


def test_a_seed_makes_the_same_inputs(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    files = prepared(tmp_path / "a", ["keypoints", "bvh"])
    prepared(tmp_path / "b", ["keypoints", "bvh"])
    first = list(make_inputs(tmp_path / "a", files, count=40, seed=3))
    assert first == list(make_inputs(tmp_path / "b", files, count=40, seed=3))
    alone = list(make_inputs(tmp_path / "b", {"bvh": files["bvh"]}, count=20, seed=3))
    assert alone == [one for one in first if one.kind == "bvh"]
    assert first != list(make_inputs(tmp_path / "b", files, count=40, seed=4))


@pytest.fixture
def misbehaving(tmp_path: Path) -> Path:
    """A folder with the sound file of the kind whose reader misbehaves."""
    folder = tmp_path / "test"
    folder.mkdir()
    (folder / "a.txt").write_text("accepted")
    return tmp_path


def test_what_a_reader_may_not_do_is_seen(misbehaving):
    words = [
        "accepted",
        "refused",
        "lines",
        "error",
        "crash",
        "memory",
        "escape",
        "child",
        "beside",
        "hang",
        "accepted",
    ]
    expected = {word: word for word in words} | {"lines": "refused", "child": "escape", "beside": "escape"}
    inputs = [Input("test", "a.txt", word.encode()) for word in words]
    results = list(read_all(inputs, misbehaving, workers=1, limits=Limits(seconds=0.5, memory_mb=50)))
    verdicts = [(one.data.decode(), outcome.verdict) for one, outcome in results]
    assert verdicts == [(word, expected[word]) for word in words], results
    said = {one.data.decode(): outcome.said for one, outcome in results}
    assert "in _misbehave" in said["crash"]  # where it was
    assert "in _misbehave" in said["hang"]
    assert "RuntimeError: of ours" in said["error"]
    assert said["lines"] == "two lines"


def test_the_command_prints_a_table(monkeypatch, capsys, tmp_path):
    words = ["fuzz", "--kind", "notes", "--inputs", "6", "--workers", "1", "--keep", str(tmp_path)]
    monkeypatch.setattr("sys.argv", words)
    assert main() == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].startswith("| kind | inputs | accepted | refused | error | crash | hang | memory | escape |")
    assert table[2].startswith("| notes | 6 |")
    assert table[3].startswith("| all | 6 |")

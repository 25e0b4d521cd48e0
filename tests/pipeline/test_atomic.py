"""Files appear whole or not at all."""

from pathlib import Path

import pytest

from pipeline.atomic import check_writable, replacing
from pipeline.errors import OutputError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_file_appears_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    with replacing(path) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".json"
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert names(tmp_path) == ["out.json"]


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt])
def test_an_exception_passes_and_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "out.json"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise error("stop")

    with pytest.raises(error, match="stop"):
        fail()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["out.json"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "target.txt", tmp_path / "link.txt"
    target.write_text("old")
    link.symlink_to(target)
    with replacing(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    lost = tmp_path / "nowhere" / "out.txt"
    with pytest.raises(OutputError) as caught:
        check_writable(lost)
    assert str(caught.value) == f"{lost}: there is no folder {lost.parent}; create it first"
    with pytest.raises(OutputError) as caught:
        check_writable(tmp_path)
    assert str(caught.value) == f"{tmp_path}: is a folder; give the name of a file in it"
    long = tmp_path / ("x" * 300 + ".txt")
    with pytest.raises(OutputError) as caught:
        check_writable(long)
    assert str(caught.value).startswith(f"{long}: cannot be written (File name too long)")
    check_writable(tmp_path / "out.txt")
    assert names(tmp_path) == []

"""What a file may take is asked before it is taken, adds up, and can be raised."""

import zipfile
from pathlib import Path

import pytest

from pipeline.errors import LONGEST, DataError, InputError, PoseError
from pipeline.limits import (
    BYTES,
    PIXELS,
    Allowance,
    check_archive,
    check_files,
    max_pixels,
    too_many_pixels,
)

REMEDY = r"give a part of it, or set POSECLI_MAX_MEGABYTES"


def test_pictures(monkeypatch):
    assert too_many_pixels(10_000, 10_000) == ""
    excess = "10000 x 10001 pixels exceed the limit of 100 megapixels; make the picture smaller"
    assert too_many_pixels(10_000, 10_001) == f"{excess}, or set POSECLI_MAX_MEGAPIXELS"
    monkeypatch.setenv(PIXELS, "0.5")
    assert max_pixels() == 500_000
    assert "exceed the limit of 0.5 megapixels" in too_many_pixels(1000, 501)
    assert too_many_pixels(1000, 500) == ""


@pytest.mark.parametrize("text", ["0", "-1", "much", "nan", "inf"])
def test_limits_that_are_none(monkeypatch, text):
    monkeypatch.setenv(PIXELS, text)
    with pytest.raises(InputError) as caught:
        max_pixels()
    assert str(caught.value) == f"POSECLI_MAX_MEGAPIXELS={text}: give a number above 0, or leave it out"


def test_small_claims_add_up(monkeypatch):
    allowance = Allowance(Path("poses.h5"))
    allowance.take(2**29)
    with pytest.raises(DataError) as caught:
        allowance.take(1)
    assert str(caught.value).startswith("poses.h5: holds 513 MB, more than the limit of 512 MB; give a part of it")
    monkeypatch.setenv(BYTES, "1000")
    allowance.take(2**20)
    with pytest.raises(DataError, match=rf"holds 8,796,093,022,722 MB, more than the limit of 1000 MB; {REMEDY}"):
        allowance.take(2**63)


def test_files_count_together(tmp_path, monkeypatch):
    monkeypatch.setenv(BYTES, str(10 / 2**20))
    paths = [tmp_path / name for name in "ab"]
    for path in paths:
        path.write_bytes(bytes(6))
    check_files(paths[:1], named=tmp_path)
    check_files([tmp_path / "none"], named=tmp_path)
    with pytest.raises(DataError, match=REMEDY):
        check_files(paths, named=tmp_path)


def test_archives_by_what_they_unpack_to(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in "ab":
            archive.writestr(name, bytes(600_000))
    check_archive(path)
    assert path.stat().st_size < 3000
    monkeypatch.setenv(BYTES, "1")
    with pytest.raises(DataError, match=rf"a\.npz: holds 2 MB, more than the limit of 1 MB; {REMEDY}"):
        check_archive(path)


def test_a_message_is_one_line_whatever_is_in_it():
    assert str(PoseError("a  file: 'x\ny'\t\x1b[31mred\0")) == r"a  file: 'x y' \x1b[31mred\x00"
    long = str(PoseError("start" + "x" * 10**6 + "end"))
    assert (long[:5], long[-3:], len(long)) == ("start", "end", LONGEST + 5)

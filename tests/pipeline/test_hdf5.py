"""What others store in HDF5 is read within limits, from that file alone, and never without end."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from lifter.data import read_motions
from pipeline.errors import DataError
from pipeline.hdf5 import HEAP, open_hdf5, stored_array
from pipeline.limits import BYTES, Allowance
from tests.fuzz.kinds import KINDS

REMEDY = r"give a part of it, or set POSECLI_MAX_MEGABYTES"


@pytest.fixture
def hdf5(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        yield file


def taken(data: h5py.Dataset) -> np.ndarray:
    return stored_array(data, Allowance(Path(data.file.filename)))


def test_data_sets_within_the_limit_are_read(hdf5):
    for name, array in {"a": np.arange(6.0).reshape(2, 3), "b": np.float32(3), "c": np.zeros((0, 3))}.items():
        np.testing.assert_array_equal(taken(hdf5.create_dataset(name, data=array)), array)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((2**40, 17, 3), {"chunks": (1024, 17, 3)}),  # nothing of it is stored
        ((2**62,), {"chunks": (1024,)}),  # its bytes overflow 64 bits
        ((2**30,), {"chunks": (2**20,), "compression": "gzip"}),
        ((1,), {"chunks": (2**28,), "maxshape": (None,)}),  # chunks are unpacked whole
    ],
)
def test_data_sets_that_claim_too_much(hdf5, shape, options):
    data = hdf5.create_dataset("a", shape, "f8", **options)
    with pytest.raises(DataError, match=rf"a\.h5: holds [0-9,]+ MB, more than the limit of 512 MB; {REMEDY}"):
        taken(data)


def test_a_data_set_that_unpacks_to_much(hdf5, monkeypatch):
    data = hdf5.create_dataset("a", data=np.zeros(400_000), compression="gzip")
    assert data.id.get_storage_size() < 10_000
    assert len(taken(data)) == 400_000
    monkeypatch.setenv(BYTES, "3")
    with pytest.raises(DataError, match="holds 4 MB, more than the limit of 3 MB"):
        taken(data)


def test_data_in_other_files_are_not_read(hdf5, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["x"] = np.arange(3.0)
    (tmp_path / "raw").write_bytes(bytes(24))
    hdf5["link"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/x")
    hdf5.create_dataset("raw", (3,), "f8", external=[(str(tmp_path / "raw"), 0, 24)])
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (3,))
    hdf5.create_virtual_dataset("virtual", layout)
    allowance = Allowance(tmp_path / "a.h5")
    for name in ("link", "raw", "virtual"):
        with pytest.raises(DataError, match="refers to another file; give a file that holds its own data"):
            stored_array(hdf5[name], allowance)


def test_texts_of_all_lengths_are_read(tmp_path):
    words = ["", "x", "a longer text", "y" * 5000, "z" * 70_000]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for number, word in enumerate(words):
            file.attrs[str(number)] = word[:60_000]
        file["words"] = words * 20
        del file.attrs["1"]
    with open_hdf5(tmp_path / "a.h5") as file:
        assert [file.attrs[str(number)] for number in (0, 2, 3)] == [words[0], words[2], words[3]]
        assert [word.decode() for word in file["words"][()]] == words * 20


@pytest.mark.parametrize("size", [0, 15, 2**32, 2**64 - 1])
@pytest.mark.parametrize("free", [True, False])
def test_texts_of_impossible_sizes(tmp_path, size, free):
    """With a left-over of size 0 the library of HDF5 did not come back."""
    KINDS["mocap"].prepare(tmp_path)
    path = tmp_path / "poses.h5"
    data = bytearray(path.read_bytes())
    at = data.index(HEAP) + 16
    data[at : at + 2] = b"\0\0" if free else data[at : at + 2]
    data[at + 8 : at + 16] = size.to_bytes(8, "little")
    path.write_bytes(data)
    if not free and size < 16:  # possible, then, but not what was written
        size = 2**64 - 9
        data[at + 8 : at + 16] = size.to_bytes(8, "little")
        path.write_bytes(data)
    with pytest.raises(DataError, match=r"poses\.h5: not a readable pose file \(damaged texts\)"):
        read_motions(path)

"""Pickles of plain data pass, those made to end the program do not; PyTorch's files likewise."""

import io
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch

from pipeline.errors import CheckpointError
from pipeline.pickles import MAX_DEPTH, check_pickle, check_torch_file


def nested(depth: int) -> list:
    value: list = []
    for _ in range(depth - 1):
        value = [value]
    return value


def sound() -> list[object]:
    shared = ["a", 1]
    return [
        None, 1, 2**80, "text", b"bytes", 1.5, (), (1,), (1, 2, 3, 4), [], {}, set(), frozenset((1, 2)),
        {"a": [1, (2, 3)], 4: {"b": None}}, [shared] * 50, {(1, 2): 3, "b": (shared, shared)}, nested(MAX_DEPTH),
        {"S1": {"Walking": np.zeros((3, 32, 3), np.float32)}}, np.array({"a": np.arange(3)}, object),
        OrderedDict(a=1, b=[2]), {str(number): [number] * 3 for number in range(5000)},
    ]  # fmt: skip


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_pass(protocol):
    for value in sound():
        file = io.BytesIO(pickle.dumps(value, protocol) + b"behind")
        check_pickle(file)
        assert file.read() == b"behind"


DEEP_KEY = b"\x80\x02}" + b")" + b"\x85" * 1_000_000 + b"K\x01s."
HOSTILE = {
    "a deep key": (DEEP_KEY, "nested too deeply"),
    "a deep list": (b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".", "nested too deeply"),
    "a key of many parts": (b"\x80\x02}(" + b"K\x01" * 200 + b"tK\x01s.", "keys of many parts"),
    "a set of such": (b"\x80\x04\x8f((" + b"K\x01" * 200 + b"t\x90.", "keys of many parts"),
    "all twice": (b"\x80\x02)" + b"2\x86" * 30 + b".", "nested too deeply or too often"),
    "all twice, by the memo": (b"\x80\x02)" + b"".join(b"q%ch%c\x86" % (n, n) for n in range(30)) + b".", "too often"),
    "itself": (b"\x80\x02]q\x00h\x00a.", "hold each other"),
    "grown when held": (b"\x80\x02]q\x00]q\x01h\x00ah\x00h\x01a.", "hold each other"),
    "nothing": (b"", "pickle exhausted"),
    "nothing on the stack": (b"\x80\x02a.", "damaged"),
    "no mark": (b"\x80\x02K\x01t.", "damaged"),
    "nothing remembered": (b"\x80\x02h\x07.", "damaged"),
    "cut short": (pickle.dumps([1, 2, 3])[:-1], "pickle exhausted"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles(name):
    data, message = HOSTILE[name]
    with pytest.raises(ValueError, match=message):
        check_pickle(io.BytesIO(data))


def test_files_of_pytorch_pass(tmp_path):
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimiser = torch.optim.Adam(network.parameters())
    network(torch.zeros(2, 3)).sum().backward()
    optimiser.step()
    content = {"state_dict": network.state_dict(), "optimizer": optimiser.state_dict(), "epoch": 3}
    for zipped in (True, False):
        path = tmp_path / f"{zipped}.pt"
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        check_torch_file(path)


def torch_file(path, data: bytes, *, method: int = zipfile.ZIP_STORED, zeros: int = 0):
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a/data.pkl", data)
        archive.writestr("a/data/0", bytes(zeros))
    return path


def test_hostile_files_of_pytorch(tmp_path):
    with pytest.raises(ValueError, match="nested too deeply"):
        check_torch_file(torch_file(tmp_path / "new.pt", DEEP_KEY))
    (tmp_path / "old.pt").write_bytes(DEEP_KEY)
    with pytest.raises(ValueError, match="nested too deeply"):
        check_torch_file(tmp_path / "old.pt")
    packed = torch_file(tmp_path / "packed.pt", pickle.dumps(1), method=zipfile.ZIP_DEFLATED, zeros=10**6)
    with pytest.raises(CheckpointError, match=r"packed\.pt: unpacks to more than it holds, as no checkpoint does"):
        check_torch_file(packed)
    (tmp_path / "text.pt").write_text("text")
    with pytest.raises(CheckpointError, match=r"text\.pt: not a checkpoint of PyTorch; give the \.pth"):
        check_torch_file(tmp_path / "text.pt")

"""What the detector's tests share: one torch thread, and the place of the real data."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny networks run fastest so, and sums come out the same on every machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def data_folder() -> Path:
    """The folder of real data, named by the environment variable POSECLI_DATA."""
    if "POSECLI_DATA" not in os.environ:
        pytest.skip("set POSECLI_DATA to the folder that holds lsp_train/ and lspet/ to run tests on real data")
    return Path(os.environ["POSECLI_DATA"])

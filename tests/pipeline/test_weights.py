"""Shipped weights are found by name and verified; anything else is a path."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline import weights
from pipeline.errors import CheckpointError, InputError
from pipeline.weights import assets_folder, file_sha256, find_weights, manifest, names

CONTENT = {
    "fast.safetensors": b"fast weights",
    "big.safetensors": b"big weights",
    "lift.safetensors": b"lifter weights",
}


def entry(name: str, kind: str, file: str) -> dict[str, Any]:
    content = CONTENT[file]
    return {
        "name": name, "kind": kind, "file": file, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(),
    }  # fmt: skip


@pytest.fixture
def assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of shipped files in place of the real one."""
    folder = tmp_path / "assets"
    folder.mkdir()
    for name, content in CONTENT.items():
        (folder / name).write_bytes(content)
    models = [
        entry("fast", "hourglass", "fast.safetensors"),
        entry("lift", "lifter", "lift.safetensors"),
        entry("big", "hourglass", "big.safetensors"),
    ]
    (folder / "models.json").write_text(json.dumps({"models": models}))
    monkeypatch.setattr(weights, "assets_folder", lambda: folder)
    return folder


def test_a_shipped_model_by_name(assets):
    assert find_weights("hourglass", "big") == assets / "big.safetensors"
    assert find_weights("lifter", "lift") == assets / "lift.safetensors"


def test_names_of_a_kind_in_the_order_of_the_manifest(assets):
    assert assets.is_dir()
    assert names("hourglass") == ["fast", "big"]
    assert names("lifter") == ["lift"]


def test_a_path(assets, tmp_path):
    own = tmp_path / "own.safetensors"
    own.write_bytes(b"trained at home")
    assert find_weights("hourglass", str(own)) == own
    assert assets.is_dir()


@pytest.mark.usefixtures("assets")
def test_a_name_of_nothing_lists_the_names():
    with pytest.raises(InputError, match="no hourglass 'bigg': give one of fast, big, or the path of a weights file"):
        find_weights("hourglass", "bigg")


@pytest.mark.usefixtures("assets")
def test_a_name_of_the_other_kind_is_not_a_name():
    with pytest.raises(InputError, match="no lifter 'fast': give one of lift, or the path"):
        find_weights("lifter", "fast")


def test_a_folder_is_not_a_weights_file(assets):
    with pytest.raises(InputError, match="no hourglass"):
        find_weights("hourglass", str(assets))


def test_a_damaged_shipped_file(assets):
    (assets / "big.safetensors").write_bytes(b"bug weights")
    with pytest.raises(CheckpointError, match=r"damaged: expected sha256 [0-9a-f]{64}, got [0-9a-f]{64}; install"):
        find_weights("hourglass", "big")
    assert find_weights("hourglass", "fast").is_file()


def test_a_missing_shipped_file(assets):
    (assets / "big.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"big\.safetensors: missing; install posecli again"):
        find_weights("hourglass", "big")


@pytest.mark.parametrize("content", [None, "{", "{}", "[]", '{"models": {"a": 1}}', '{"models": [{"name": "x"}]}'])
def test_an_unreadable_manifest(assets, content):
    path = assets / "models.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(CheckpointError, match="the manifest of the shipped weights is unreadable"):
        find_weights("hourglass", "fast")


def test_file_sha256(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    # the standard's own example
    assert file_sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def shipped() -> list[dict[str, Any]]:
    return manifest() if (assets_folder() / "models.json").is_file() else []


@pytest.mark.skipif(not shipped(), reason="no weights are shipped: assets/models.json is missing")
def test_there_is_a_shipped_model_of_each_kind_and_names_are_unique():
    assert names("hourglass")
    assert names("finder")
    assert names("lifter")
    given = [(model["kind"], model["name"]) for model in shipped()]
    assert len(set(given)) == len(given)


@pytest.mark.parametrize("model", shipped(), ids=lambda model: model["name"])
def test_every_shipped_model_is_sound(model):
    import torch

    from hourglass.finder import Finder
    from hourglass.predict import Detector
    from lifter.predict import Lifter

    path = find_weights(model["kind"], model["name"])
    assert path == assets_folder() / model["file"]
    assert path.stat().st_size == model["bytes"]
    load = {"hourglass": Detector.load, "finder": Finder.load, "lifter": Lifter.load}[model["kind"]]
    load(path, torch.device("cpu"))


@pytest.mark.parametrize("model", shipped(), ids=lambda model: model["name"])
@pytest.mark.parametrize("field", ["licence", "recipe", "metrics"])
def test_every_shipped_model_says_where_it_comes_from(model, field):
    assert model[field]

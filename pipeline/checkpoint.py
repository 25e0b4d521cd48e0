"""Weights files: everything needed to use a trained network, in one safetensors file that executes nothing.

The header of the file carries one JSON text under the key `posecli`: format version, kind and architecture, the
network's own configuration, what its input and output mean, where it comes from, and a SHA-256 over all tensors.
Optimiser state does not belong here; it has a resume file of its own.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from pipeline.atomic import write_whole
from pipeline.errors import CheckpointError
from pipeline.json_text import MOST_NESTED, parse_json

FORMAT_VERSION = 1
HEADER_KEY = "posecli"


@dataclass(frozen=True)
class Checkpoint:
    """A network on disk.

    kind     'hourglass', 'finder' or 'lifter'
    arch     name in the registry of that kind
    config   fields of the architecture's config class, plain JSON types
    meta     what the tensors do not say, plain JSON types: skeleton, codec and crop convention, normalisation
             statistics, input source, provenance (data hashes, command, seed, metrics, versions)
    tensors  name -> tensor, as in the module's state dict
    """

    kind: str
    arch: str
    config: dict[str, Any]
    meta: dict[str, Any]
    tensors: dict[str, torch.Tensor]


def digest(tensors: dict[str, torch.Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of the tensors, in order of their names."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def save_checkpoint(path: Path, checkpoint: Checkpoint, *, dtype: torch.dtype = torch.float16) -> None:
    """Write a checkpoint, floating-point tensors as `dtype`, to a temporary name first.

    A tensor with values beyond the range of `dtype` keeps its own. Raises OutputError if the file cannot be written.
    """
    stored = {name: _narrowed(tensor.detach().cpu(), dtype).contiguous() for name, tensor in checkpoint.tensors.items()}
    header = {
        "version": FORMAT_VERSION,
        "kind": checkpoint.kind,
        "arch": checkpoint.arch,
        "config": checkpoint.config,
        "meta": checkpoint.meta,
        "sha256": digest(stored),
    }
    content = save(stored, metadata={HEADER_KEY: json.dumps(header, sort_keys=True)})
    write_whole(path, content)


def _narrowed(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if not tensor.is_floating_point():
        return tensor
    narrow = tensor.to(dtype)
    return narrow if torch.isfinite(narrow).all() else tensor


def load_checkpoint(path: Path, kind: str) -> Checkpoint:
    """Read and verify a checkpoint; floating-point tensors come as float32 on the CPU.

    Raises CheckpointError if the file is missing, damaged, not ours, of a later format, or of another kind.
    """
    with _opened(path) as (file, header):
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    if header["kind"] != kind:
        raise CheckpointError(f"{path}: expected weights of a {kind}, got those of a {header['kind']}")
    actual = digest(tensors)
    if actual != header["sha256"]:
        raise CheckpointError(f"{path}: damaged: expected sha256 {header['sha256']}, got {actual}; fetch it again")
    floats = {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}
    return Checkpoint(kind, header["arch"], header["config"], header["meta"], floats)


def kind_of(path: Path) -> str:
    """What kind of network a file holds; CheckpointError if it is missing, damaged, not ours or of a later format."""
    with _opened(path) as (_, header):
        kind: str = header["kind"]
    return kind


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """An open weights file and its header."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such weights file")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(HEADER_KEY)
            if text is None:
                reason = "a safetensors file, but not one of posecli; import it with its own tool first"
                raise CheckpointError(f"{path}: {reason}")
            yield file, _parse_header(path, text)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a readable weights file ({error}); fetch or train it again") from error


def _parse_header(path: Path, text: str) -> dict[str, Any]:
    expected = {"version": int, "kind": str, "arch": str, "config": dict, "meta": dict, "sha256": str}
    try:
        header = parse_json(text, most_nested=MOST_NESTED)
    except ValueError as error:
        raise CheckpointError(f"{path}: damaged header; fetch it again") from error
    version = header.get("version") if isinstance(header, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:  # first, as its other fields may be others
        raise CheckpointError(f"{path}: format {version}, this posecli reads {FORMAT_VERSION}; update posecli")
    if not isinstance(header, dict) or any(not isinstance(header.get(k), t) for k, t in expected.items()):
        raise CheckpointError(f"{path}: damaged header: expected the fields {', '.join(expected)}; fetch it again")
    return header


def load_state(module: torch.nn.Module, checkpoint: Checkpoint, path: Path) -> None:
    """Make a checkpoint's tensors those of a module, strictly; CheckpointError that names both sides on a mismatch.

    The module may have been made on the device 'meta', so that a config of any size takes no memory before it is known
    to fit the file.
    """
    expected = {name: tuple(t.shape) for name, t in module.state_dict().items()}
    given = {name: tuple(t.shape) for name, t in checkpoint.tensors.items()}
    if expected != given:
        name = next(n for n in sorted({*expected, *given}) if expected.get(n) != given.get(n))
        raise CheckpointError(
            f"{path}: {checkpoint.arch} expects {name} of shape {expected.get(name, 'none')}, "
            f"the file has {given.get(name, 'none')}"
        )
    module.load_state_dict(checkpoint.tensors, assign=True)

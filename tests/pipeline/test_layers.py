"""Imports point down only: the base, the two networks, and what puts them together."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("pipeline", "hourglass", "lifter")
BASE = {
    f"pipeline.{name}"
    for name in (
        *("errors", "skeleton", "poses", "people", "crop", "camera", "sighting"),
        *("checkpoint", "json_text", "atomic", "device", "weights", "jsonl"),
        *("runtime", "int8", "int8_graph", "onnx_session"),
        *("hdf5", "limits", "pickles"),
    )
}
FREE_OF_TORCH = ("errors", "skeleton", "poses", "people", "crop", "camera", "atomic", "weights", "clean", "track")


def module_names() -> list[str]:
    """All modules of the program, as they are imported."""
    files = [path for package in PACKAGES for path in sorted((ROOT / package).glob("**/*.py"))]
    return [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files if path.stem != "__init__"]


MODULES = module_names()


def imports_of(module: str) -> set[str]:
    """Names that a module imports anywhere in its text: 'package.module' for ours, the full name for others."""
    tree = ast.parse((ROOT / module.replace(".", "/")).with_suffix(".py").read_text())
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import hides where it points"
            assert node.module is not None
            # 'from pipeline import weights' names a module too
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & set(MODULES)) or {node.module}
    return found


def ours(module: str) -> set[str]:
    return {name for name in imports_of(module) if name.split(".")[0] in PACKAGES}


def test_there_is_something_to_look_at():
    assert set(MODULES) >= BASE
    assert "pipeline.crop" in imports_of("pipeline.track")
    assert {"torch", "hourglass.codec"} <= imports_of("hourglass.predict")


@pytest.mark.parametrize("module", sorted(BASE))
def test_the_base_imports_only_the_base(module):
    assert ours(module) <= BASE


@pytest.mark.parametrize("module", [name for name in MODULES if name.split(".")[0] in ("hourglass", "lifter")])
def test_the_networks_import_the_base_and_themselves(module):
    package = module.split(".")[0]
    foreign = {name for name in ours(module) if name not in BASE and name.split(".")[0] != package}
    assert not foreign


def test_no_module_imports_itself_by_a_detour():
    graph = {module: ours(module) & set(MODULES) for module in MODULES}
    while graph:
        leaves = {module for module, needed in graph.items() if not needed & graph.keys()}
        assert leaves, f"imports run in a circle among {sorted(graph)}"
        graph = {module: needed for module, needed in graph.items() if module not in leaves}


@pytest.mark.parametrize("name", FREE_OF_TORCH)
def test_what_needs_no_torch_does_not_import_it(name):
    waiting, seen = {f"pipeline.{name}"}, set()
    while waiting:
        module = waiting.pop()
        seen.add(module)
        assert not any(other.split(".")[0] == "torch" for other in imports_of(module)), module
        waiting |= (ours(module) & set(MODULES)) - seen


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_empty(package):
    assert not (ROOT / package / "__init__.py").read_text().strip()


def test_the_command_line_answers_without_torch():
    code = "import sys, pipeline.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0

"""What machine this is, for those who compare figures."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("posecli", "torch", "onnxruntime", "av", "opencv-python", "numpy", "scipy")  # whose versions matter


def describe_machine() -> dict[str, Any]:
    """cpu (its name), cores that this process may use, threads that torch uses, gpu (its name or None), system,
    load (programs that wanted to run in the last minute, on average; None where the system does not tell), and
    versions, see there.
    """
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpu": _processor(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "system": f"{platform.system()} {platform.machine()}",
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter, posecli among them; 'unknown' for one not installed so."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # under another name, such as opencv-python-headless, or run from its folder
            found[package] = "unknown"
    return found


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory_mb() -> float | None:
    """The most memory that this process has held at a time (resident set), MB; None where the system does not tell."""
    try:
        import resource  # noqa: PLC0415 (not on Windows)
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def summary(machine: dict[str, Any]) -> str:
    """The machine in two lines, and a third where it was busy with something else."""
    load = machine["load"]
    gpu = machine["gpu"] or "no GPU"
    first = f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads, {gpu}, {machine['system']}"
    lines = [first, ", ".join(f"{name} {number}" for name, number in machine["versions"].items())]
    if load is not None and load > 0.5:
        lines.append(
            f"Something else was running (load {load:.1f}): frames/s are too low, ratios and CPU times hold better."
        )
    return "\n".join(lines)

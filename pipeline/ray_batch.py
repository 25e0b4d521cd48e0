"""The clips of a batch spread over a Ray cluster (docs.ray.io), one task a clip; needs the package of posecli[ray].

Every machine of the cluster must have posecli, and see the clips and the folder to write to at the same paths.
"""

import importlib.util
import logging
import os
import signal
import socket
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.batch import Batch, Made, Worker, make
from pipeline.errors import InputError, PoseError
from pipeline.run import Models, weights_files

LOCAL = "local"  # instead of an address: a cluster on this machine, for this run
OBJECTS = 80 << 20  # bytes that a local cluster may pass around in memory, Ray's least: only paths and figures are
ANSWER_S = 5.0  # within which a cluster has to answer
LOOK_S = 1.0  # how often Ctrl-C is heeded while all clips are still being worked on


def on_ray(address: str) -> Worker:
    """A worker that makes clips on the cluster at an address: 'auto', 'local', or 'host:port'.

    Raises InputError if the package is missing or it is no address; the worker, when it starts, if no cluster answers.
    """
    if address not in ("auto", LOCAL) and _place(address) is None:
        raise InputError(f"--ray {address}: give auto, {LOCAL} or host:port")
    if importlib.util.find_spec("ray") is None:
        raise InputError("--ray needs the package ray: pip install 'posecli[ray]'")
    return partial(_spread, address)


def _place(address: str) -> tuple[str, int] | None:
    """Host and port of 'host:port'; None if it is something else."""
    host, _, port = address.rpartition(":")
    return (host, int(port)) if host and "/" not in host and port.isascii() and port.isdecimal() else None


def _spread(address: str, batch: Batch, sources: Sequence[Path]) -> Generator[Made, None, None]:
    """Make clips as far as there are processors; a clip whose worker dies is given to another one, once."""
    if not sources:
        return
    files = weights_files(hourglass=batch.hourglass, finder=batch.finder, lifter=batch.lifter)
    batch = replace(
        batch,
        folder=batch.folder.absolute(),  # workers are started elsewhere
        hourglass=_anywhere(batch.hourglass, files["detector"]),
        finder=_anywhere(batch.finder, files["finder"]),
        lifter=_anywhere(batch.lifter, files["lifter"]),
    )
    with _cluster(address) as ray:
        task = ray.remote(**_needs(ray, batch.device))(_task)
        waiting: dict[Any, tuple[Path, str | None]] = {}
        for source in sources:
            waiting[task.remote(batch, source.absolute())] = (source, None)
        while waiting:
            for reference in ray.wait(list(waiting), timeout=LOOK_S)[0]:
                source, retried = waiting.pop(reference)
                try:
                    made = ray.get(reference)
                except ray.exceptions.RayError as error:
                    line = f"{source}: the worker failed ({_reason(error)})"
                    if retried is None:
                        waiting[task.remote(batch, source.absolute())] = (source, line)
                        continue
                    made = Made(source, error=line)
                yield replace(made, source=source, retried=retried)


def _anywhere(wanted: str, file: Path) -> str:
    """A name of weights as it is, a path so that it can be used from another folder."""
    return str(file.absolute()) if Path(wanted).is_file() else wanted


def _needs(ray: ModuleType, device: str) -> dict[str, Any]:
    """What a task takes of the cluster: a processor and, if wanted and there are some, a graphics card."""
    cards = device.startswith("cuda") or (device == "auto" and ray.cluster_resources().get("GPU", 0) > 0)
    return {"num_cpus": 1, "num_gpus": int(cards), "max_retries": 0}


def _reason(error: Exception) -> str:
    """The first line of what Ray says."""
    return str(error).strip().splitlines()[0].rstrip(".")


@contextmanager
def _cluster(address: str) -> Iterator[Any]:
    """Ray, connected; a cluster of our own ends with the block, tasks on another one are given up.

    It tells nobody about its use, shows no dashboard, and a local one does not leave the loopback interface.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    mine: dict[str, Any] = {}
    if address == LOCAL:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # its name for: no machines besides this one
        mine = {"include_dashboard": False, "object_store_memory": OBJECTS}
    import ray  # noqa: PLC0415  # takes seconds, and reads the variables above

    before = signal.getsignal(signal.SIGTERM)
    try:
        if (place := _place(address)) is not None:
            socket.create_connection(place, timeout=ANSWER_S).close()  # Ray itself would try for minutes
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **mine)
    except Exception as error:  # Ray raises many kinds
        raise InputError(
            f"--ray {address}: there is no Ray cluster to use ({_reason(error)}); start one with 'ray start --head', "
            f"or give --ray {LOCAL}"
        ) from error
    finally:
        if signal.getsignal(signal.SIGTERM) is not before:
            signal.signal(signal.SIGTERM, before)  # Ray has put its own there
    try:
        with redirect_stdout(sys.stderr):  # Ray's notices, as of a worker's death, are no results
            yield ray
    finally:
        ray.shutdown()


# On a worker


@lru_cache(maxsize=1)
def _models(batch: Batch) -> Models:
    """Loaded once in each process, of which Ray keeps some for further clips."""
    return batch.load_models()


def _task(batch: Batch, source: Path) -> Made:
    """Make one clip, with as many threads as Ray gives the task."""
    try:
        return make(batch, source, _models(batch))
    except PoseError as error:
        return Made(source, error=f"{source}: {error}")

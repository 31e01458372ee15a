"""Ray on this machine, or a cluster that is there.

Ray listens on ports and pickles between its own processes. On one machine they are 127.0.0.1's alone; dashboard and
usage statistics are off. A cluster needs a network that one trusts.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BackendError

#: The backend's package is imported from here by Ray's workers on this machine.
ROOT = Path(__file__).parents[2]
#: What Ray reads when it is imported. The first means loopback: else, on Linux, it listens on all networks. The last,
#: in ms: else it ends workers that wait for a second, and each new one imports and loads for three seconds of a core.
LOCAL = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_idle_worker_killing_time_threshold_ms": "3600000",
}
HINT = "Install it beside the backend: pip install --require-hashes -r requirements-farm.lock"


@dataclass(frozen=True)
class Size:
    """What a cluster has for the farm."""

    cpus: float
    gpus: float


def require_ray() -> None:
    """Raise BackendError unless the packages of the extra ``farm`` are there."""
    missing = [name for name in ("ray", "pyarrow", "pandas") if importlib.util.find_spec(name) is None]
    if missing:
        raise BackendError("no_ray", f"The farm needs {' and '.join(missing)}.", HINT)


@contextmanager
def connected(address: str | None, *, cpus: int | None, store_bytes: int | None) -> Iterator[Size]:
    """Be connected to a cluster: the one at ``address``, else to one of this machine that ends with the context.

    Raises BackendError if the cluster cannot be reached.
    """
    if address is None:
        os.environ |= LOCAL | {"RAY_AUTH_MODE": "token"}
        # A token of this process alone: Ray would keep one in a file that others of this machine may read.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        modules = [str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(modules))
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address is None:
            ray.init(address="local", num_cpus=cpus, object_store_memory=store_bytes, include_dashboard=False, **quiet)
        else:
            ray.init(address=address, **(quiet if "://" not in address else {}))
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = address or "this machine"
        hint = "Is it running, and does this machine reach it? RAY_AUTH_TOKEN may be needed, see docs/farm.md."
        raise BackendError("no_cluster", f"Ray at {where} cannot be used: {error}", hint) from error
    try:
        resources = ray.cluster_resources()
        yield Size(resources.get("CPU", 1.0), resources.get("GPU", 0.0))
    finally:
        ray.shutdown()


def nodes_with(resource: str) -> list[str]:
    """The machines of the cluster that have some of a resource, CPU or GPU."""
    import ray

    return [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get(resource)]


def say(text: str) -> None:
    """Print a line at once."""
    print(text, file=sys.stdout, flush=True)

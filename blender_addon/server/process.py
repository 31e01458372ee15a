"""Finds the Python that runs the backend, and starts it. No bpy: folders and preferences are arguments."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from ...backend import protocol
from ..jobs.client import READY_TIMEOUT, Backend, BackendUnavailable

PYTHON_VARIABLE = "ESPALIER_PYTHON"
_CHECKOUT_PYTHON = Path(".venv", "Scripts", "python.exe") if sys.platform == "win32" else Path(".venv", "bin", "python")


def find_python(
    preference: str, root: Path, environ: Mapping[str, str] = os.environ, installed: Path | None = None
) -> Path:
    """The backend's Python: the preference, else ``ESPALIER_PYTHON``, else the installed one, else the checkout's own.

    If the preference or the variable names a file that does not exist, that is an error; the next one is not tried.
    Raises BackendUnavailable.
    """
    for path, source in ((preference, "the preferences"), (environ.get(PYTHON_VARIABLE, ""), PYTHON_VARIABLE)):
        if path and not Path(path).is_file():
            raise BackendUnavailable(f"There is no Python at {path}.", f"Correct the path in {source}.")
        if path:
            return Path(path)
    if installed is not None:
        return installed
    if (root / _CHECKOUT_PYTHON).is_file():
        return root / _CHECKOUT_PYTHON
    raise BackendUnavailable("The backend is not installed.", "Install it in the preferences.")


def backend_command(python: Path, *arguments: str) -> list[str]:
    """The command line of a command of the backend. Run it with ``backend_environment``.

    It uses no user site-packages, does not put the current folder on the path, and writes no ``__pycache__`` into the
    extension's folder.
    """
    return [str(python), "-s", "-P", "-B", "-X", "utf8", "-m", "backend", *arguments]


def backend_environment(
    root: Path, environ: Mapping[str, str] = os.environ, models_folder: str = "", python: Path | None = None
) -> dict[str, str]:
    """Blender's environment variables without those for Blender's own Python. ``backend`` is found in ``root``.

    If the backend's ``python`` is the one that runs this, as without Blender, what that one was told stays.
    """
    kept = {name: value for name, value in environ.items() if not name.startswith("PYTHON") and name != "VIRTUAL_ENV"}
    models = {protocol.MODELS_VARIABLE: models_folder} if models_folder else {}
    is_ours = python is not None and python == Path(sys.executable)
    told = environ.get("PYTHONPATH", "") if is_ours else ""
    return {**kept, **models, "PYTHONPATH": os.pathsep.join(filter(None, [str(root), told]))}


def launch(
    python: Path,
    root: Path,
    log_path: Path,
    timeout: float = READY_TIMEOUT,
    models_folder: str = "",
    advice: str = "",
    overlap: bool = False,
) -> Backend:
    """Start the backend and return at once. ``advice`` is as in ``Backend``. Raises BackendUnavailable.

    ``overlap`` is for many objects: one is finished while the next is made, without a GPU too.
    """
    env = backend_environment(root, models_folder=models_folder, python=python)
    backend = Backend(backend_command(python, "serve", *(["--overlap"] if overlap else [])), log_path, env, advice)
    backend.start(timeout)
    return backend

"""What can go wrong with a job, in words for the person who uses the panel.

Every expected failure is a ``BackendError``: a short stable ``code``, one clear sentence, and a ``hint`` that says what
to do about it. ``describe`` turns any exception into these three, so that the command line and the server say the same.
"""

from __future__ import annotations

from pathlib import Path

from .disk_errors import explain, in_chain
from .protocol import InvalidSetting


class BackendError(Exception):
    """An expected failure. ``code`` is short and stable, ``str(error)`` one sentence, ``hint`` what to do about it."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


class SettingsError(BackendError):
    """A request asks for something impossible."""


class ImageError(BackendError):
    """A reference image cannot be used."""


class CheckpointError(BackendError):
    """A model folder cannot be used: a file is missing, damaged, or does not fit the networks."""

    def __init__(self, message: str, hint: str = "Install the model again.", code: str = "checkpoint_invalid") -> None:
        super().__init__(code, message, hint)


class StoreError(BackendError):
    """A model, or a package that the backend is installed from, cannot be fetched, verified or installed."""


class GenerationError(BackendError):
    """The model ran, but made nothing usable."""


class JobCancelled(Exception):
    """Raised by ``check()`` in the middle of the work, after the job was asked to end."""


def describe(error: BaseException, folder: str | Path = "") -> tuple[str, str, str]:
    """The code, sentence and hint of any exception. ``folder`` is where files were being written, if any were."""
    if isinstance(error, BackendError):
        return error.code, str(error), error.hint
    if isinstance(error, InvalidSetting):
        return "settings_invalid", str(error), ""
    if _is_out_of_memory(error):
        hint = "Close other programs that use a lot of memory, or choose a smaller model."
        return "out_of_memory", "There is not enough memory for this job.", hint
    if (said := in_chain(error)) is not None:
        found = explain(said, folder)
        return found.code, found.message, found.hint
    words = f"{type(error).__name__}: {error}".rstrip(": ")
    return "internal", f"Something went wrong inside the backend ({words}).", "The log has the details."


def _is_out_of_memory(error: BaseException) -> bool:
    # torch raises OutOfMemoryError for the GPU, but a plain RuntimeError from its CPU allocator. Its classes are
    # recognised by name because this module must not import torch.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)

"""Where the weights of a network lie: beside its description, under a path without suffix and one of these suffixes."""

from __future__ import annotations

from pathlib import Path

SAFETENSORS = ".safetensors"

#: Suffixes of files that are converted.
PICKLES = (".pt", ".pth")


def with_suffix(path: Path, suffix: str) -> Path:
    """A path with a suffix more: ``Path.with_suffix`` would take a dot in the name for one."""
    return path.with_name(path.name + suffix)


def has_weights(path: Path) -> bool:
    """Whether there are weights at a path without suffix, in any form."""
    return any(with_suffix(path, suffix).is_file() for suffix in (SAFETENSORS, *PICKLES))


def pickle_at(path: Path) -> Path | None:
    """The pickled weights at a path without suffix, which a safetensors file beside them may have been made from."""
    return next((pickle for suffix in PICKLES if (pickle := with_suffix(path, suffix)).is_file()), None)

"""The files of a network's weights: a path without suffix, plus one of these suffixes."""

from __future__ import annotations

from pathlib import Path

SAFETENSORS = ".safetensors"

#: Suffixes of pickled weights, which are converted.
PICKLES = (".pt", ".pth")


def with_suffix(path: Path, suffix: str) -> Path:
    """A path with a suffix added. ``Path.with_suffix`` would instead replace what follows a dot in the name."""
    return path.with_name(path.name + suffix)


def has_weights(path: Path) -> bool:
    """Whether there are weights at a path without suffix, in any form."""
    return any(with_suffix(path, suffix).is_file() for suffix in (SAFETENSORS, *PICKLES))


def pickle_at(path: Path) -> Path | None:
    """The pickled weights at a path without suffix, None if there are none. They may have been converted already."""
    return next((pickle for suffix in PICKLES if (pickle := with_suffix(path, suffix)).is_file()), None)

"""Failures of jobs: those with the same cause belong together. No bpy."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, TypeVar

from ...backend import protocol

#: A folder of an image in a job's own folder.
_OF_AN_IMAGE = r"(?:[/\\]image \d+)?"


class MayFail(Protocol):
    """A job, or what else may have an error."""

    error: protocol.Error | None


Failed = TypeVar("Failed", bound=MayFail)


def of_all(error: protocol.Error, own: Path) -> protocol.Error:
    """An error as it is said of all that fail for this reason.

    ``own`` is the folder of the one that failed, which has a number for a name and lies in the folder of this run of
    Blender or of the batch. The folder above these, which people know, is named instead.
    """
    folder = str(own.parents[min(1, len(own.parents) - 1)]) if own.parents else str(own)
    message = re.sub(re.escape(str(own)) + _OF_AN_IMAGE, lambda _: folder, error.message)
    return dataclasses.replace(error, message=message)


def grouped(failed: Iterable[Failed]) -> list[list[Failed]]:
    """What has failed, by cause, in the order of the first ones. What has no error is left out."""
    groups: dict[tuple[str, str, str], list[Failed]] = {}
    for one in failed:
        if one.error is not None:
            groups.setdefault(_cause(one.error), []).append(one)
    return list(groups.values())


def alike(one: Failed, among: Iterable[Failed]) -> list[Failed]:
    """All that failed for the same reason, itself too."""
    return next((group for group in grouped(among) if one in group), [])


def _cause(error: protocol.Error) -> tuple[str, str, str]:
    return error.code, error.message, error.hint

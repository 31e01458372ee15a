"""Writes what only Blender writes of objects that were made elsewhere: the farm's door to Blender.

A request is a line of JSON with the result of a job, a name, a folder and formats. The answer is a line, too: what went
wrong, in words, or nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

from ..backend import protocol
from ..backend.batches import files_of_formats, written_by_blender
from ..backend.names import printable
from ..backend.typed_json import built
from .batch import keep_stdout, write_with_blender
from .report import Asset


def serve(requests: Iterable[str] = sys.stdin) -> int:
    """Answer requests until there are no more. Returns the exit code."""
    keep_stdout()
    for request in requests:
        answer(json.loads(request), sys.stdout)
    return 0


def answer(request: dict[str, Any], answers: TextIO) -> None:
    """Write the files of a request, and answer it."""
    error = ""
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # operators print what they do
            write(request)
    except Exception as failure:  # one object must not end the others
        error = printable(f"{type(failure).__name__}: {failure}")
    answers.write(json.dumps({"error": error}) + "\n")
    answers.flush()


def write(request: dict[str, Any]) -> None:
    """Write what is Blender's of the formats. Raises what Blender does, and OSError."""
    result: protocol.Result = built(protocol.Result, request["result"], "a result")
    folder, name = Path(request["folder"]), request["name"]
    settings = result.settings
    options = argparse.Namespace(
        formats=request["formats"],
        target="any",
        out=folder,
        **{key: settings[key] for key in ("udim", "lods", "collision", "normal_map", "ambient_occlusion", "roughness")},
    )
    endings = files_of_formats(
        options, lambda name: written_by_blender(name) or name == "blend", materials=result.materials
    )
    parts = {kind: folder / f"{name}{ending}" for kind, ending in endings.items()}
    write_with_blender(Asset(name, list(settings["images"]), "", {}), result, parts, options)

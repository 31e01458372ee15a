"""The commands ``download``, ``verify`` and ``delete``: consent, progress, and what went wrong.

With ``--json`` they print reports of ``protocol``, one per line.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from .. import protocol
from ..errors import describe
from ..protocol import models_folder
from .amounts import free_bytes, in_words
from .catalog import CARDS, PUBLISHED, PublishedModel
from .download import delete_model, download_model, missing_models, verify_model
from .hub import Hub, endpoint
from .reports import Reports
from .snapshot import Snapshot

_RESUME = "Run the same command again to resume."


def download(options: argparse.Namespace) -> int:
    """Install a model and what it needs. Returns the exit code: 2 without consent, 130 if interrupted."""
    reports = Reports(options.json)
    try:
        missing = missing_models(options.name)
        if options.source is not None:  # one folder holds one model
            missing = [model for model in missing if model.name == options.name]
        if missing:
            refusal = _refusal(missing, options)
            if refusal:
                if options.json:
                    reports.tell(protocol.Error(None, "no_consent", refusal))
                print(refusal, file=sys.stderr)
                return 2
        source = Hub() if missing and options.source is None else None
        for model in missing:
            folder = download_model(model, source or Snapshot(options.source), reports.progress)
            reports.tell(protocol.Installed(model.name, str(folder)), f"{model.title} is installed in {folder}.")
    except KeyboardInterrupt:
        reports.tell(protocol.Interrupted(), f"Cancelled. {_RESUME}", sys.stderr)
        return 130
    except Exception as error:  # the command ends here, and says in words what went wrong
        if options.traceback:
            raise
        reports.failed(*describe(error, protocol.models_folder()))
        return 1
    names = tuple(model.name for model in missing_models(options.name))
    words = f"{options.name} also needs {', '.join(names)}: install that too." if names else f"{options.name} is ready."
    reports.tell(protocol.Done(options.name, names), words)
    return 0


def verify(options: argparse.Namespace) -> int:
    """Compare an installed model's files with their hashes. Returns the exit code: 1 if one is missing or differs."""
    words = f"{options.name} is unchanged since it was installed."
    return _carry_out(options, words, lambda reports: verify_model(PUBLISHED[options.name], reports.progress))


def delete(options: argparse.Namespace) -> int:
    """Remove a model, or what has been downloaded of it. Returns the exit code."""
    return _carry_out(options, f"{options.name} is deleted.", lambda reports: delete_model(PUBLISHED[options.name]))


def _carry_out(options: argparse.Namespace, words: str, work: Callable[[Reports], None]) -> int:
    reports = Reports(options.json)
    try:
        work(reports)
    except Exception as error:  # the command ends here, and says in words what went wrong
        if options.traceback:
            raise
        reports.failed(*describe(error, protocol.models_folder()))
        return 1
    reports.tell(protocol.Done(options.name), words)
    return 0


def _refusal(missing: list[PublishedModel], options: argparse.Namespace) -> str:
    """Why nothing may be downloaded; empty after consent. First shows what would be downloaded."""
    if not options.json:
        _show(missing, options.source)
    if options.yes:
        return ""
    if options.json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return "Nothing is downloaded without consent. Read the licenses, then add --yes."
    print("Accept these licenses and continue? [y/N] ", end="", file=sys.stderr, flush=True)
    return "" if sys.stdin.readline().strip().lower() in ("y", "yes") else "Nothing was downloaded."


def _show(missing: list[PublishedModel], source: Path | None) -> None:
    for model in missing:
        print(f"{model.name}: {model.title}, {in_words(model.size)}", file=sys.stderr)
        print(f"    from     {source or f'{endpoint()}/{model.repository}'}", file=sys.stderr)
        print(f"    license  {model.licence} ({model.page})", file=sys.stderr)
        for peak in model.peaks:
            low, full = in_words(peak.low_memory), in_words(peak.at_once)
            print(f"    memory   of a GPU at {peak.resolution}: {full}, or {low} with low memory", file=sys.stderr)
        for card in CARDS if model.peaks else ():
            print(f"    {card:2} GB    {model.fit(card)}", file=sys.stderr)
        if model.access and source is None:
            print(f"    account  {model.access}", file=sys.stderr)
    folder = models_folder()
    print(f"to {folder}, where {in_words(free_bytes(folder))} are free", file=sys.stderr)

"""The commands ``models``, ``download``, ``verify`` and ``delete``: what there is, consent, progress.

With ``--json``, ``models`` prints one JSON object, and the others one a line: ``progress`` (the fields of
``install.Progress``) while they work, ``installed`` (model, folder) after each model, and at the end ``done``, or
``error`` (code, message, hint), or ``cancelled``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from ..errors import describe
from ..protocol import models_folder
from .catalog import LOCK_NAME, PUBLISHED, PublishedModel, available_models, find_model, installed_lock
from .hub import Hub, endpoint
from .install import Progress, delete_model, install, missing_models, partial_folder, verify_model
from .snapshot import Snapshot

#: Seconds between two reports of progress.
INTERVAL = 0.2

_GO_ON = "The same command goes on from there."


def models(options: argparse.Namespace) -> int:
    """Print what models there are. Returns the exit code."""
    entries = [_entry(model) for model in PUBLISHED.values()]
    entries = [_local_entry(name) for name in available_models() if name not in PUBLISHED] + entries
    if options.json:
        summary = {"models_folder": str(models_folder()), "free": _free(models_folder()), "models": entries}
        print(json.dumps(summary))
        return 0
    for entry in entries:
        state = entry["state"]
        if state == "partial":
            state = f"{_size(entry['present'])} of {_size(entry['size'])} downloaded"
        print(f"{entry['name']:21}{_size(entry['size']):>8}  {state}: {entry['folder']}")
        if entry["source"]:
            print(f"{'':31}{entry['title']}, {entry['source']}, licence: {entry['licence']}")
    return 0


def _entry(model: PublishedModel) -> dict[str, Any]:
    folder = models_folder() / model.name
    if installed_lock(model) is not None:
        state, present = "installed", _bytes_in(folder)
    elif (folder / LOCK_NAME).exists():
        state, present = "damaged", _bytes_in(folder)
    else:
        present = _bytes_in(partial_folder(model))
        state = "partial" if present else "not installed"
    return {
        "name": model.name,
        "title": model.title,
        "state": state,
        "size": model.size,
        "present": present,
        "licence": model.licence,
        "source": model.page,
        "needs": list(model.needs),
        "folder": str(folder),
    }


def _local_entry(name: str) -> dict[str, Any]:
    """A bundled model, or one of the person's own: neither is downloaded."""
    folder = find_model(name)
    bundled = folder.parent != models_folder()
    return {
        "name": name,
        "title": name,
        "state": "bundled" if bundled else "own",
        "size": _bytes_in(folder),
        "present": _bytes_in(folder),
        "licence": "GPL-3.0-or-later" if bundled else "",
        "source": "",
        "needs": [],
        "folder": str(folder),
    }


def download(options: argparse.Namespace) -> int:
    """Install a model and what it needs. Returns the exit code: 2 without consent, 130 if interrupted."""
    report = _Report(options.json)
    try:
        missing = missing_models(options.name)
        if options.source is not None:  # one folder holds one model
            missing = [model for model in missing if model.name == options.name]
        if missing:
            refusal = _refusal(missing, options)
            if refusal:
                report.refused(refusal)
                return 2
        source = Hub() if missing and options.source is None else None
        for model in missing:
            folder = install(model, source or Snapshot(options.source), report.progress)
            report.installed(model, folder)
    except KeyboardInterrupt:
        report.cancelled()
        return 130
    except Exception as error:  # the command ends here: whatever went wrong is said in words
        if options.traceback:
            raise
        report.failed(*describe(error))
        return 1
    report.done(options.name, missing_models(options.name))
    return 0


def verify(options: argparse.Namespace) -> int:
    """Hash an installed model's files anew. Returns the exit code: 1 if it is not what was installed."""
    return _carry_out(options, lambda report: verify_model(PUBLISHED[options.name], report.progress))


def delete(options: argparse.Namespace) -> int:
    """Remove a model, or what has arrived of it. Returns the exit code."""
    return _carry_out(options, lambda report: delete_model(PUBLISHED[options.name]))


def _carry_out(options: argparse.Namespace, work: Callable[[_Report], None]) -> int:
    report = _Report(options.json)
    try:
        work(report)
    except Exception as error:  # the command ends here: whatever went wrong is said in words
        if options.traceback:
            raise
        report.failed(*describe(error))
        return 1
    report.carried_out(options.command, options.name)
    return 0


def _refusal(missing: list[PublishedModel], options: argparse.Namespace) -> str:
    """Why nothing may be downloaded; empty after consent. Shows what it is about first."""
    if not options.json:
        _show(missing, options.source)
    if options.yes:
        return ""
    if options.json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return "Nothing is downloaded without consent: read the licences, then add --yes."
    print("Accept these licences and go on? [y/N] ", end="", file=sys.stderr, flush=True)
    return "" if sys.stdin.readline().strip().lower() in ("y", "yes") else "Nothing was downloaded."


def _show(missing: list[PublishedModel], source: Path | None) -> None:
    for model in missing:
        print(f"{model.name}: {model.title}, {_size(model.size)}", file=sys.stderr)
        print(f"    from     {source or f'{endpoint()}/{model.repository}'}", file=sys.stderr)
        print(f"    licence  {model.licence} ({model.page})", file=sys.stderr)
    folder = models_folder()
    print(f"to {folder}, where {_size(_free(folder))} are free", file=sys.stderr)


class _Report:
    """What is told while it works: JSON lines on stdout, or a line that is written over on a terminal's stderr."""

    def __init__(self, as_json: bool) -> None:
        self._json = as_json
        self._line = not as_json and sys.stderr.isatty()
        self._last: tuple[float, Progress] | None = None
        self._speed = 0.0

    def progress(self, now: Progress) -> None:
        """Tell it, but not more often than every ``INTERVAL``, unless something else is being done."""
        time_now = time.monotonic()
        if self._last is not None:
            before, last = self._last
            same = (last.model, last.action, last.file) == (now.model, now.action, now.file)
            if same and time_now - before < INTERVAL:
                return
            if same and now.done > last.done:
                speed = (now.done - last.done) / (time_now - before)
                self._speed = 0.8 * self._speed + 0.2 * speed if self._speed else speed
        self._last = time_now, now
        if self._json:
            self._send("progress", **asdict(now))
        elif self._line:
            print(f"\r\x1b[K{self._words(now)}", end="", file=sys.stderr, flush=True)

    def _words(self, now: Progress) -> str:
        words = f"{now.model}: {now.action} {100 * now.done // max(now.total, 1)} % of {_size(now.total)}"
        if now.action == "verify" or not self._speed:
            return words
        minutes, seconds = divmod(int((now.total - now.done) / self._speed), 60)
        return f"{words}, {_size(int(self._speed))}/s, {minutes}:{seconds:02} left"

    def installed(self, model: PublishedModel, folder: Path) -> None:
        if self._json:
            self._send("installed", model=model.name, folder=str(folder))
        else:
            self._say(f"{model.title} is installed in {folder}.", sys.stdout)

    def done(self, name: str, still_missing: list[PublishedModel]) -> None:
        names = [model.name for model in still_missing]
        if self._json:
            self._send("done", model=name, still_missing=names)
        elif names:
            self._say(f"{name} also needs {', '.join(names)}: install that too.", sys.stdout)
        else:
            self._say(f"{name} is ready.", sys.stdout)

    def carried_out(self, command: str, name: str) -> None:
        if self._json:
            self._send("done", model=name)
        else:
            words = "is what was installed" if command == "verify" else "is deleted"
            self._say(f"{name} {words}.", sys.stdout)

    def refused(self, sentence: str) -> None:
        if self._json:
            self._send("error", code="no_consent", message=sentence, hint="")
        print(sentence, file=sys.stderr)

    def failed(self, code: str, message: str, hint: str) -> None:
        if self._json:
            self._send("error", code=code, message=message, hint=hint)
        else:
            self._say(f"{message} {hint}".strip(), sys.stderr)

    def cancelled(self) -> None:
        if self._json:
            self._send("cancelled")
        else:
            self._say(f"Cancelled. {_GO_ON}", sys.stderr)

    def _send(self, kind: str, **values: Any) -> None:
        print(json.dumps({"type": kind, **values}), flush=True)

    def _say(self, sentence: str, stream: TextIO) -> None:
        if self._line:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        print(sentence, file=stream, flush=True)


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _free(folder: Path) -> int:
    """Free bytes on the disk that a folder, which need not exist yet, would be on."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(there).free

"""The three stages of the pipeline. Each takes a record and returns one, on whichever machine Ray has room.

A record is a row, what the stage before made of it, and its error if it has failed: then the stages hand it on, and the
last one writes its line all the same.

Ray Data begins a row again, without end, whose worker or machine has died. That is what makes a cluster reliable, and
what makes a row fatal that kills its workers itself. So ``Attempts``, one small process beside the driver, counts how
often a stage of a row was begun and not ended. It asks no store for anything.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle  # between Ray's own workers only: Ray does the same; nothing from outside is read with it
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..batches import files_of_formats
from ..errors import BackendError, describe
from ..protocol import MODELS_VARIABLE, Generate
from .blender import Blender
from .report import Line
from .rows import Row
from .stores import StoreUnreachable, Target, path_in, read, shown

if TYPE_CHECKING:
    from PIL import Image

Record = dict[str, Any]  # row: text; state: pickled; error: code, message and hint as JSON; seconds: as JSON

#: How many workers may die of a row.
DEATHS = 2
#: What a stage does, for the sentence about a row that is given up.
DOING = {"read": "reading its images", "sample": "making it", "finish": "finishing it"}


@dataclass(frozen=True)
class Work:
    """What all stages know. It is sent to every worker."""

    settings: dict[str, Any]  # of the command
    formats: tuple[str, ...]
    target: str
    model: str  # its identity, see ``weights``
    models_folder: str
    fetch: bool
    blender: tuple[str, ...]  # the command that writes .blend files; empty if there are none to write
    attempts: Any  # a handle of ``Attempts``

    def enter(self) -> None:
        """Let this process find models where the command says."""
        if self.models_folder:
            os.environ[MODELS_VARIABLE] = self.models_folder

    def of(self, row: Row) -> dict[str, Any]:
        """The settings of a row."""
        return {**self.settings, **row.settings}

    def endings(self, row: Row, materials: bool) -> dict[str, str]:
        """The endings of the files of a row's object, by kind."""
        return endings_of(self.of(row), self.formats, materials)


def endings_of(settings: Mapping[str, Any], formats: Sequence[str], materials: bool = False) -> dict[str, str]:
    """The endings of the files of an object with these settings, by kind. ``materials``: its model makes them."""
    raw = {"raw": ".raw.ply"} if settings["keep_raw"] else {}
    return files_of_formats(Namespace(**settings, formats=formats, target="any"), materials=materials) | raw


class Attempts:
    """Counts, in a process of its own, how often the stage of a row was begun and not ended."""

    def __init__(self) -> None:
        self._begun: dict[tuple[str, str], int] = {}

    def begin(self, stage: str, name: str) -> int:
        """Note that a stage of a row begins. Returns how often it began before without an end."""
        before = self._begun.get((stage, name), 0)
        self._begun[stage, name] = before + 1
        return before

    def end(self, stage: str, name: str) -> None:
        """Note that it has ended, well or not."""
        self._begun.pop((stage, name), None)


def record_of(row: Row) -> Record:
    """The record of a row that no stage has seen."""
    return {"row": row.text(), "state": b"", "error": "", "seconds": "{}"}


def _tried(stage: str, work: Work, record: Record, do: Callable[[Row, bytes], bytes]) -> Record:
    """Run a stage of a record, unless it has failed. What is raised becomes its error."""
    import ray

    if record["error"]:
        return record
    row, begun = Row.of(record["row"]), time.perf_counter()
    state, error = b"", ""
    deaths = ray.get(work.attempts.begin.remote(stage, row.name))
    try:
        if deaths >= DEATHS:
            words = f"The worker died {deaths} times while {DOING[stage]}."
            raise BackendError("worker_died", words, "The row may need more memory than a worker has. See Ray's logs.")
        state = do(row, record["state"])
    except Exception as failure:  # a row must not end the others, whatever is wrong with it
        error = json.dumps(describe(failure, shown(work.target)))
    ray.get(work.attempts.end.remote(stage, row.name))
    seconds = json.loads(record["seconds"]) | {stage: round(time.perf_counter() - begun, 4)}
    return record | {"state": state, "error": error, "seconds": json.dumps(seconds)}


class Read:
    """Stage 1: read the images of a row, and cut the object out."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def __call__(self, record: Record) -> Record:
        """The record with its images, or with its error."""
        return _tried("read", self._work, record, self._read)

    def _read(self, row: Row, _: bytes) -> bytes:
        from ..images.files import load_image

        if row.problem:
            raise BackendError("settings_invalid", row.problem, "Change this row of the source.")
        images: list[Image.Image] = []
        with tempfile.TemporaryDirectory(prefix="espalier-") as folder:
            for number, address in enumerate(row.images):
                file = Path(folder, str(number), Path(path_in(address)).name)  # its name is in what is said of it
                file.parent.mkdir()
                file.write_bytes(_content(address))
                images.append(load_image(file, self._work.of(row)["background"]))
        return pickle.dumps(images, pickle.HIGHEST_PROTOCOL)


def _content(address: str) -> bytes:
    try:
        return read(address)
    except FileNotFoundError as error:
        words = f"The image {shown(address)} does not exist."
        raise BackendError("image_missing", words, "It may have been moved or renamed.") from error
    except OSError as error:
        words = f"The image {shown(address)} cannot be read: {error}."
        raise StoreUnreachable("image_unreadable", words, "Run the same command again later.") from error


class Sample:
    """Stage 2: an actor that holds the model, and makes the raw object."""

    def __init__(self, work: Work, device: str) -> None:
        """``device`` is the kind to use. Raises BackendError if the model cannot be had on this machine."""
        from ..serving.device import choose_device
        from ..serving.warm_models import WarmModels
        from .weights import require

        work.enter()
        require(work.settings["model"], work.model, fetch=work.fetch)
        self._work = work
        self._models = WarmModels(choose_device(device), kept_bytes=0)
        self._models.get(work.settings["model"], low_memory=work.settings["low_memory"])

    def __call__(self, record: Record) -> Record:
        """The record with its raw object, or with its error."""
        return _tried("sample", self._work, record, self._sample)

    def _sample(self, row: Row, state: bytes) -> bytes:
        from ..formats import FORMATS
        from ..serving import job

        formats = tuple(name for name in self._work.formats if not FORMATS[name].by_blender and name != "glb")
        with tempfile.TemporaryDirectory(prefix="espalier-") as out:
            request = Generate(row.name, tuple(row.told), out, name=row.name, formats=formats, **self._work.of(row))
            images = pickle.loads(state)
            begun = job.begin(
                request, self._models, images=images, on_progress=_nothing, on_preview=None, check=_nothing
            )
        return pickle.dumps(begun, pickle.HIGHEST_PROTOCOL)


def _nothing(*_: object) -> None:
    """What a job calls to say how far it is, and to be interrupted."""


class Finish:
    """Stage 3: finish the object, and write its files and its line."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def __call__(self, record: Record) -> Record:
        """The line of the row."""
        made = _tried("finish", self._work, record, self._finish)
        row, seconds = Row.of(record["row"]), json.loads(made["seconds"])
        if made["error"]:
            code, message, hint = json.loads(made["error"])
            line = row.line(status="failed", error={"code": code, "message": message, "hint": hint})
        else:
            line = Line.read(made["state"])
        line.seconds = seconds | {"total": round(sum(seconds.values()), 4)}
        try:
            Target(self._work.target).note(line.file, line.text().encode())
        except OSError as error:  # the driver has the line, too, and writes it into the report
            line.note = " ".join(filter(None, [line.note, f"Its line could not be written: {error}."]))
        return {"line": line.text()}

    def _finish(self, row: Row, state: bytes) -> bytes:
        from ..serving.outputs import Place

        with tempfile.TemporaryDirectory(prefix="espalier-") as folder:
            begun = pickle.loads(state)
            result = replace(begun, place=Place(Path(folder), row.name, "")).finish()
            if self._work.blender:
                Blender.of(self._work.blender).write(result, row.name, Path(folder), self._work.formats)
            endings = self._work.endings(row, result.materials)
            files = {kind: Path(folder, row.name + ending) for kind, ending in endings.items()}
            if "glb_hulls" not in result.files:  # none could be made: the note says why
                files = {kind: path for kind, path in files.items() if not kind.endswith("_hulls")}
            contents = {kind: path.read_bytes() for kind, path in files.items()}
        Target(self._work.target).put({files[kind].name: content for kind, content in contents.items()})
        line = row.line(
            status="done",
            files={kind: path.name for kind, path in files.items()},
            sizes={kind: len(content) for kind, content in contents.items()},
            digests={kind: hashlib.sha256(content).hexdigest() for kind, content in contents.items()},
            counts=result.counts,
            note=result.note,
        )
        return line.text().encode()

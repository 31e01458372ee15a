"""Carries out the tools' jobs. Images and meshes are copied out of the allowed folders, the job runs in a private one,
and its files are put into an allowed one at the end, all of them or none.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .. import protocol
from ..errors import JobCancelled, SettingsError, describe
from ..files import written_together
from ..names import copy_name
from .allowed import Folders
from .loop import carry_out
from .outputs import NOTES, RAW_ARRAYS, Place, write_notes
from .tools import TOOLS, Asked, Tool
from .warm_models import WarmModels


class Workshop:
    """Carries out the tools' jobs, one at a time, in the process's main thread: it changes the current folder.

    ``work`` is a private folder for temporary files.
    """

    def __init__(self, folders: Folders, models: WarmModels, work: Path) -> None:
        self._folders = folders
        self._models = models
        self._work = work

    def make(
        self,
        name: str,
        arguments: Mapping[str, Any],
        *,
        check: Callable[[], None],
        send: Callable[[protocol.Message], None],
    ) -> dict[str, Any] | protocol.Error:
        """Carry out the tool ``name``, and return what it made, or why it could not. Raises JobCancelled.

        ``check()`` ends it by raising JobCancelled, and ``send`` gets its progress.
        """
        try:
            return self._make(TOOLS[name], arguments, check, send)
        except JobCancelled:
            raise
        except Exception as error:  # whatever is wrong with one call, the server answers the next one
            return protocol.Error(None, *describe(error))

    def _make(
        self, tool: Tool, arguments: Mapping[str, Any], check: Callable[[], None], send: Callable[..., None]
    ) -> dict[str, Any] | protocol.Error:
        asked = Asked.read(tool, arguments)
        folder = self._work / uuid.uuid4().hex
        made = folder / "out"
        made.mkdir(parents=True)
        try:
            images = [self._bring(path, folder / f"image {number}") for number, path in enumerate(asked.images)]
            mesh = self._bring(asked.mesh, folder / "mesh") if asked.mesh else None
            copies = tuple(str(copy) for copy, _ in images)
            with self._folders.entered(asked.out):
                place = Place.find(Path(), asked.name or images[0][0].stem, copies)
            request = protocol.Generate(
                uuid.uuid4().hex,
                copies,
                str(made),
                mesh=str(mesh[0]) if mesh else "",
                name=place.name,
                points=asked.points,
                **asked.settings,
            )
            message = carry_out(request, self._models, check=check, send=send)
            if isinstance(message, protocol.Cancelled):
                raise JobCancelled
            if isinstance(message, protocol.Error):
                return message
            assert isinstance(message, protocol.Result)
            sources = [str(real) for _, real in images]
            return self._publish(message, made, place, asked.out, sources, str(mesh[1]) if mesh else "")
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # on Windows, something may still have a file of it open

    def _bring(self, path: str, folder: Path) -> tuple[Path, Path]:
        """Copy a file into a new private folder. Returns the copy and the file's real path."""
        folder.mkdir()
        given = Path(path)
        copy = folder / copy_name(given)
        return copy, self._folders.copy(path, copy)

    def _publish(
        self, result: protocol.Result, made: Path, place: Place, out: str, sources: list[str], mesh: str
    ) -> dict[str, Any]:
        """Put the files of a job into the folder that was asked for, all of them or none."""
        private = {place.name + RAW_ARRAYS, place.name + NOTES}
        files = sorted(path for path in made.iterdir() if path.name not in private)
        with self._folders.entered(out) as folder:
            if Place.find(Path(), place.name, result.settings["images"]).name != place.name:
                words = f"Another program has written files named {place.name} meanwhile."
                raise SettingsError("name_taken", words, "Try again.")
            with written_together(*(Path(path.name) for path in files), durable=True) as parts:
                for path, part in zip(files, parts, strict=True):
                    shutil.copyfile(path, part)
            told = {**result.settings, "images": sources, "mesh": mesh}
            write_notes(place, told, result.counts, result.cameras, result.certificate)
            names = [path.name for path in files] + [place.name + NOTES]
        return {
            "name": place.name,
            "glb": str(folder / Path(result.glb).name),
            "files": [str(folder / name) for name in names],
            "counts": result.counts,
            "seconds": round(result.timings["total"], 3),
            "seed": result.settings["seed"],
            "note": result.note,
            "sound": result.certificate is not None and result.certificate.sound,
        }

"""Turns folders of images into textured meshes, without a window: one asset for each object.

Both ``blender --command espalier`` and a checkout's ``scripts/batch.py`` run this. It writes ``NAME.glb`` and
``NAME.blend`` or other formats, ``previews/NAME.png`` with --render, and ``report.json``, which says what happened to
each object. An
asset that exists already, made from the same images with the same settings, is skipped. An object that fails does not
stop the others. If the backend dies, the present object has failed, and the next one gets a new backend.

Exit codes: 0 everything is there, 1 something failed (report.json says what), 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import io
import json
import os
import shutil
import stat
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

from ..backend import protocol
from ..backend.batches import files_of_formats, objects, problem_with_model, written_by_blender
from ..backend.disk_errors import explain
from ..backend.files import FULL, CutOff, picture_digest, remove_left_behind, written_together
from ..backend.formats import TARGETS
from ..backend.names import printable
from ..backend.signals import end_as_interrupted
from ..backend.whole import flaw, is_whole
from .batch_formats import (
    add_format_options,
    chosen_formats,
    problem_with_formats,
)
from .batch_line import AHEAD, Line, Pace, say
from .jobs.client import Backend, BackendUnavailable
from .jobs.file_lock import Busy, FileLock
from .jobs.queue import Job, JobQueue
from .report import REPORT, Asset, Names, describe, read_report, write_report

#: Errors of the backend itself: the image may be fine.
BACKEND_ERRORS = {"backend_unavailable", "backend_ended", "backend_not_ready", "backend_protocol"}
LOCK = ".batch.lock"  # in the folder of the assets; empty while no batch is running
PREVIEWS = "previews"  # a folder in it
PREVIEW_SIZE = 512  # pixels
MAX_NAMED = 10  # files that are passed over: more are counted


#: Starts a backend that writes its log to this file.
Launch: TypeAlias = Callable[[Path], Backend]
#: Says which models can be used. Raises BackendUnavailable.
ListModels: TypeAlias = Callable[[], Mapping[str, protocol.ModelInfo]]


def program(arguments: list[str], launch: Launch, list_models: ListModels, *, name: str) -> int:
    """Run a batch as a whole program: catch all its errors, and return the exit code."""
    keep_stdout()
    end_as_interrupted()
    try:
        return main(arguments, launch, list_models, name=name)
    except KeyboardInterrupt:
        return 130
    except SystemExit as wrong_usage:  # or --help
        return wrong_usage.code if isinstance(wrong_usage.code, int) else 2
    except BackendUnavailable as error:
        print(f"{error} {error.hint}".strip(), file=sys.stderr)
        return 1
    except Exception:  # Blender would end with 0
        traceback.print_exc()
        return 1


def main(arguments: list[str], launch: Launch, list_models: ListModels, *, name: str = "batch.py") -> int:
    """Run a batch and return its exit code. Raises SystemExit (2) if options are wrong, and BackendUnavailable."""
    options = parse(arguments, list_models, name)
    if options.known is not None and (words := problem_with_model(options.settings, options.known)):
        print(words, file=sys.stderr)
        return 2
    lock = FileLock(options.out / LOCK)
    try:
        lock.acquire()
    except Busy:
        print(
            f"Another batch is writing to {options.out}. Wait until it has finished, or choose another --out.",
            file=sys.stderr,
        )
        return 1
    except OSError as error:
        what = lock.path if os.path.lexists(lock.path) else options.out  # such as a link where the lock should be
        print(f"{what} cannot be written to: {error.strerror}. Choose another --out.", file=sys.stderr)
        return 1
    try:
        work = Path(tempfile.mkdtemp(prefix="espalier-"))
    except OSError as error:
        print(f"No temporary folder can be made: {error.strerror}. TMPDIR chooses another place.", file=sys.stderr)
        lock.release()
        return 1
    try:
        return make_all(options, launch, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)  # on Windows, something may still have a file of it open
        lock.release()


def make_all(options: argparse.Namespace, launch: Launch, work: Path) -> int:
    """Make all assets that are missing, and return the exit code. The caller holds the lock on the folder.

    ``work`` is a folder for temporary files.
    """
    for folder in (options.out, options.out / PREVIEWS):
        remove_left_behind(folder)
    earlier = read_report(options.out)
    assets = plan(options, earlier)
    before = earlier or {}
    # Other assets keep their entries, so that an interrupted run, or one with other images, loses nothing.
    report = before | {asset.name: asset for asset in assets if asset.name not in before}
    is_kept = keep_report(options, report)  # now: what is interrupted has its name
    queue = JobQueue(lambda: launch(options.out / "backend.log"))
    losses = 0  # how many times in a row the backend has died
    pace = Pace(len(assets))
    line = Line(queue, pace, work, options)

    @cache
    def made_before(number: int) -> Asset | None:
        old = before.get(assets[number].name)
        return old if old is not None and is_done(old, assets[number], options.out) else None

    try:
        for number, asset in enumerate(assets, 1):
            pace.number, pace.name = number, asset.name
            if (old := made_before(number - 1)) is not None:
                asset = dataclasses.replace(old, status="skipped", images=asset.images, pictures=asset.pictures)
            elif losses > 1:
                line.drop(asset)
                asset.fail("backend_lost", "Not tried: the backend failed twice in a row.", "See backend.log.")
            else:
                coming = (assets[later] for later in range(number, len(assets)) if not made_before(later))
                make(asset, tuple(islice(coming, AHEAD)), options, line)
                lost = asset.error is not None and asset.error["code"] in BACKEND_ERRORS
                losses = losses + 1 if lost else 0
            assets[number - 1] = report[asset.name] = asset
            is_kept = keep_report(options, report)
            say(f"{pace.label}: {describe(asset)}")
    finally:
        queue.close()
    tally = {status: sum(asset.status == status for asset in assets) for status in ("done", "skipped", "failed")}
    say(
        ", ".join(f"{count} {status}" for status, count in tally.items())
        + f": {options.out / REPORT if is_kept else options.out}"
    )
    return 0 if is_kept and not tally["failed"] else 1


def keep_report(options: argparse.Namespace, report: Mapping[str, Asset]) -> bool:
    """Write the report. If that is impossible, say so, and return False: the assets are worth more than the report."""
    try:
        write_report(options.out, options.settings, report.values())
    except OSError as error:
        print(f"{options.out / REPORT} cannot be written: {error.strerror or error}.", file=sys.stderr)
        return False
    return True


def parse(arguments: list[str], list_models: ListModels, name: str) -> argparse.Namespace:
    """Parse the options. Adds the ``settings`` of the requests, a ``stamp`` that changes when the model's files do, and
    what is ``known`` of the model; None for a folder.

    Ends the process with exit code 2 if options are wrong. Raises BackendUnavailable.
    """
    parser = argparse.ArgumentParser(prog=name, description="Turn images into textured meshes, one for each object.")
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE_OR_FOLDER")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="the folder to write the assets to")
    parser.add_argument(
        "--views",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="treat images named NAME_front, NAME_back, ... in one folder as views of the object NAME (default: yes)",
    )
    protocol.add_options(parser, protocol.Door.BATCH)
    add_format_options(parser)
    parser.add_argument("--render", action="store_true", help="render a preview of each asset with Cycles on the CPU")
    options = parser.parse_args(arguments)
    options.formats = chosen_formats(options)
    if wrong := problem_with_formats(options):
        parser.error(wrong)
    if options.out.exists() and not options.out.is_dir():
        parser.error(f"--out {options.out} is a file")
    options.out = options.out.resolve()
    try:
        options.settings = protocol.from_options(options, protocol.Door.BATCH)
        options.settings["collision_nodes"] |= "glb" in TARGETS[options.target].hulls
    except protocol.InvalidSetting as error:
        parser.error(str(error))
    models = list_models()
    if options.model in models:
        options.stamp = models[options.model].stamp
    elif Path(options.model).is_dir():
        options.model = str(Path(options.model).resolve())  # the backend runs in another folder
        options.stamp = folder_stamp(Path(options.model))
    else:
        known = ", ".join(sorted(models)) or "none"
        parser.error(f"--model {options.model}: choose one of the models ({known}) or the folder of a model")
    options.settings["model"] = options.model
    options.known = models.get(options.model)
    if options.known is not None:  # so that the assets of earlier versions, which knew no Automatic, are still done
        source = protocol.texture_source(options.texture_source, materials=options.known.materials)
        options.settings["texture_source"] = source
    try:
        options.images = list(find_images(options.images))
    except OSError as error:
        parser.error(f"{error.filename} cannot be read: {error.strerror}")
    if not options.images:
        parser.error("there are no images in these folders")
    return options


def find_images(paths: list[Path]) -> Iterator[Path]:
    """Files as they are given, and for each folder the images in it, sorted by name. Says what it passes over there.

    Hidden files are passed over without a word: a Mac writes ``._mug.png`` beside ``mug.png``. Raises OSError.
    """
    for path in paths:
        if not path.is_dir():
            yield path.resolve()
            continue
        shown = sorted(entry.resolve() for entry in path.iterdir() if not entry.name.startswith("."))
        images = [entry for entry in shown if entry.suffix.lower() in protocol.IMAGE_SUFFIXES and is_image(entry)]
        others = [entry.name for entry in shown if entry not in set(images)]
        if others:
            more = f" and {len(others) - MAX_NAMED} more" if len(others) > MAX_NAMED else ""
            print(f"Not images, passed over in {path}: {', '.join(others[:MAX_NAMED])}{more}", file=sys.stderr)
        yield from images


def is_image(entry: Path) -> bool:
    """Whether an entry of a folder may be an image: not a folder, a pipe or a device. One that may not be read may."""
    try:
        return stat.S_ISREG(entry.stat().st_mode)
    except OSError:
        return True  # the backend says why


def plan(options: argparse.Namespace, earlier: Mapping[str, Asset] | None) -> list[Asset]:
    """An asset for each object, named after its images: see ``Names``. ``earlier`` is what ``read_report`` gives."""
    stamp = json.dumps([options.settings, options.stamp]).encode()
    may_have = endings_of(options, materials=options.known is None or options.known.materials)
    names = Names(options.out, earlier)
    assets: list[Asset] = []
    for stem, images in objects(options.images, options.views):
        paths = [str(image) for image in images]
        digests = b"".join(bytes.fromhex(digest(image)) for image in images)
        is_read = digests != hashlib.sha256().digest() * len(images)
        pictures = hashlib.sha256(digests).hexdigest() if is_read else ""
        name = names.give(stem, paths, pictures, may_have.values())
        fingerprint = hashlib.sha256(stamp + digests).hexdigest()
        assets.append(Asset(name, paths, fingerprint, files_of(name, options), pictures=pictures))
    return assets


def endings_of(options: argparse.Namespace, *, materials: bool = False) -> dict[str, str]:
    """The endings of an asset's files in the folder, by kind. ``materials``: its model makes them."""
    raw = {"raw": ".raw.ply"} if options.keep_raw else {}
    return files_of_formats(options, materials=materials) | raw


def files_of(name: str, options: argparse.Namespace, result: protocol.Result | None = None) -> dict[str, str]:
    """The files of an asset, by kind. Which maps and hulls it has, only its ``result`` says."""
    endings = endings_of(options, materials=result is not None and result.materials)
    if result is not None and "glb_hulls" not in result.files:  # none could be made: the note says why
        endings = {kind: ending for kind, ending in endings.items() if not kind.endswith("_hulls")}
    preview = {"preview": f"{PREVIEWS}/{name}.png"} if options.render else {}
    return {kind: name + ending for kind, ending in endings.items()} | preview


def digest(image: Path) -> str:
    """The SHA-256 of an image file. If it is missing or may not be read, of nothing: the backend will say so."""
    return picture_digest(image) or hashlib.sha256().hexdigest()


def folder_stamp(folder: Path) -> list[tuple[str, int, int]]:
    """A stamp that changes when the files of a model's folder do. It does not read them."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files)


def make(asset: Asset, following: Sequence[Asset], options: argparse.Namespace, line: Line) -> None:
    """Generate an asset and write its files. Whatever is raised is kept in the asset as its error.

    The ``following`` ones are asked for as soon as the backend can make them.
    """
    start = time.monotonic()
    job: Job | None = None
    try:
        job = line.wait_for(asset, following)
        start = job.started or start
        if job.result is None:
            error = job.error or protocol.Error(job.id, "cancelled", "The job was cancelled.")
            where = (
                f" The backend works in {line.work}: TMPDIR chooses another disk." if error.code == "disk_full" else ""
            )
            asset.fail(error.code, error.message, f"{error.hint}{where}")
            return
        asset.seconds, asset.counts = dict(job.result.timings), dict(job.result.counts)
        asset.note = job.result.note
        asset.files = files_of(asset.name, options, job.result)
        with contextlib.redirect_stdout(io.StringIO()):  # operators print what they do
            write_files(asset, job.result, options)
        asset.status = "done"
    except OSError as error:
        code = "disk_full" if error.errno in FULL else "output_failed"
        found = explain(error, options.out)
        hint = f"{found.hint} Its earlier files are as they were."
        asset.fail(code, f"The asset could not be written: {printable(found.message)}", hint)
    except Exception as error:  # one asset must not end the others, whatever is wrong with it
        traceback.print_exc()
        words = f"{type(error).__name__}: {error}" if not isinstance(error, ValueError | RuntimeError) else str(error)
        asset.fail("output_failed", f"The asset could not be written: {printable(words)}")
    finally:
        line.drop(asset)
        asset.seconds["total"] = round(time.monotonic() - start, 3)
        line.pace.ended()


def write_files(asset: Asset, result: protocol.Result, options: argparse.Namespace) -> None:
    """Write the asset's files, all of them or none: the backend's files are copied, bpy writes the others."""
    paths = {kind: options.out / file for kind, file in asset.files.items()}
    if "preview" in paths:
        paths["preview"].parent.mkdir(exist_ok=True)
        if paths["preview"].parent.is_symlink():
            raise OSError(f"{paths['preview'].parent} is a link")
    exported = files_of_formats(options, written_by_blender, materials=result.materials)
    kinds = sorted(paths, key=lambda kind: kind in exported)  # those that are written under their own names come last
    named = [paths[kind] for kind in kinds if kind in exported]
    with written_together(*(paths[kind] for kind in kinds if kind not in exported), named=named, durable=True) as parts:
        part = dict(zip(kinds, parts, strict=True))
        for kind, source in copies(asset, result).items():
            if kind in part:
                shutil.copyfile(source, part[kind])
        if part.keys() & {"blend", "preview", *exported}:
            write_with_blender(asset, result, part, options)


def copies(asset: Asset, result: protocol.Result) -> dict[str, str]:
    """The backend's files, by kind. Raises OSError if an OBJ would name its material and textures wrongly."""
    if "obj" in result.files and Path(result.files["obj"]).stem != asset.name:
        raise OSError(f"the temporary folder shortens the name {asset.name}: TMPDIR chooses another")
    found = {"glb": result.glb, "texture": result.texture, "normal_map": result.normal_map}
    return found | {"occlusion": result.occlusion} | dict(result.files)


def write_with_blender(
    asset: Asset, result: protocol.Result, part: Mapping[str, Path], options: argparse.Namespace
) -> None:
    """Write the .blend, the preview and what Blender exports to the paths in ``part``."""
    import bpy

    from .scene import export, travel
    from .scene.export_images import pictures_of
    from .scene.mesh_import import create_object
    from .scene.render_preview import render_preview

    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    made = create_object(result, name=asset.name, collection=bpy.context.scene.collection, settings=result.settings)
    for name in filter(written_by_blender, options.formats):
        wanted = export.Wanted(name, options.target)
        with export.stand_ins(bpy.context, made, wanted) as copies:
            pictures = pictures_of(copies.main.data)
            export.write(bpy.context, copies, part[name].parent, asset.name, wanted, pictures)
    if "blend" in part:
        show_textures(bpy.data.screens)
        made.select_set(True)
        bpy.context.view_layer.objects.active = made
        travel.make_relative(str(options.out))
        save_copy(part["blend"], asset.name, made.name)
    if "preview" in part:
        start = time.monotonic()
        render_preview(made, part["preview"], PREVIEW_SIZE)
        asset.seconds["render"] = round(time.monotonic() - start, 3)


def save_copy(path: Path, asset: str, made: str) -> None:
    """Save what is open, the .blend of an asset, and read back that the file has the object ``made``.

    Blender says of a compressed file on a full disk that it was saved. Raises OSError, RuntimeError.
    """
    import bpy

    beside = path.with_name(path.name + "@")  # what Blender writes first
    try:
        bpy.ops.wm.save_as_mainfile(filepath=str(path), copy=True, compress=True)
        if wrong := flaw(path):
            raise CutOff(Path(f"{asset}.blend"), wrong)
        with bpy.data.libraries.load(str(path)) as (saved, _):
            objects_there = list(saved.objects)
        if made not in objects_there:
            raise CutOff(Path(f"{asset}.blend"), f"it lacks the object {made}")
    finally:
        beside.unlink(missing_ok=True)


def show_textures(screens: Any) -> None:
    """Let Solid shading show textures when the file is opened. By default it shows grey."""
    for screen in screens:
        for area in screen.areas:
            for space in area.spaces:
                if space.type == "VIEW_3D":
                    space.shading.color_type = "TEXTURE"


def is_done(old: Asset, asset: Asset, out: Path) -> bool:
    """Whether an earlier run made this asset from the same images and settings, and its files are complete."""
    same = old.status in ("done", "skipped") and old.fingerprint == asset.fingerprint
    return same and all(is_whole(out / file) for file in (old.files | asset.files).values())


def keep_stdout() -> None:
    """Keep stdout for the batch alone. Blender would print a line for each sample and each file, from C.

    A name that the terminal's encoding cannot write is printed with escapes.
    """
    sys.stdout.flush()
    encoding = sys.stdout.encoding
    sys.stdout = open(os.dup(1), "w", encoding=encoding, errors="backslashreplace", buffering=1)  # noqa: SIM115 (open to the end)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)

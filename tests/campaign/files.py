"""Runs on what comes as files: images, model folders, .blends, and disks that are full."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from backend.files import left_behind, write_whole, written_together
from backend.names import printable
from backend.whole import is_whole

from .tally import Tally, mutated, strange

#: Formats that Blender writes, too, which does not tell of every error. The others' writers do.
CHECKED = (".glb", ".png")


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="campaign-") as name:
        yield Path(name)


def images(tally: Tally) -> None:
    """Images of every kind, damaged. At most 600 MB each, in a copy of this process and in its decoder."""
    from tests.backend.images import corpus

    corpus.warm()
    with folder() as work:
        sources = []
        for number, case in enumerate(corpus.good(large=False)):
            case.write(work / f"{number}.src")
            sources.append((work / f"{number}.src").read_bytes())
        while not tally.enough:
            content = mutated(tally.random.choice(sources), tally.random)
            tally.tried += 1

            def write(path: Path, content: bytes = content) -> int:
                return path.write_bytes(content)

            cost = corpus.cost(corpus.Case(str(tally.tried), write), work, corpus.read_in_fork)
            tally.refused += bool(cost.refused)
            if "internal" in cost.refused or cost.wrong:
                tally.fault(cost.refused or cost.wrong)
            tally.cost(cost.decoding, cost.megabytes, most=corpus.MAX_MEGABYTES)  # seconds of a processor


def models(tally: Tally) -> None:
    """Model folders whose JSON, weights, pickles and locks are damaged or hostile."""
    import torch

    from backend.pipeline import Pipeline
    from backend.store.integrity import check_file
    from backend.weights.folders import ModelFolder
    from tests.fakes.tiny_model import write_tiny_model

    with folder() as work:
        good = write_tiny_model(work / "good")
        for weights in list((good / "ckpts").glob("*.safetensors"))[:2]:  # these are read as pickles
            from safetensors.torch import load_file

            torch.save(load_file(weights), weights.with_suffix(".pt"))
            weights.unlink()
        victim = work / "victim"
        victim.write_text("precious")
        names = sorted(path.relative_to(good) for path in good.rglob("*") if path.is_file())
        while not tally.enough:
            model = Path(shutil.copytree(good, work / "model"))
            name = tally.random.choice(names)
            file = model / name
            if name.suffix == ".json" and tally.random.random() < 0.8:
                file.write_text(json.dumps(strange(json.loads(file.read_text()), tally.random)), "utf-8")
            else:
                file.write_bytes(mutated(file.read_bytes(), tally.random))
            if tally.random.random() < 0.2:
                (model / "models.lock.json").write_text(
                    json.dumps(strange({"repository": "x", "revision": "y", "files": {"../victim": {}}}, tally.random))
                )
            with tally.trial(str(name)):
                check_file(model / "pipeline.json", content=True)
                Pipeline.load(ModelFolder.read(model), torch.device("cpu"))
            if victim.read_text() != "precious" or {path.name for path in work.iterdir()} != {
                "good",
                "model",
                "victim",
            }:
                tally.fault(f"{name}: something outside of the folder has changed")
                return
            shutil.rmtree(model)


def blends(tally: Tally) -> None:
    """.blends whose history, custom properties and lists hold anything: opened, saved and opened again."""
    import bpy
    from espalier import blender_addon
    from espalier.blender_addon.scene import history, made

    sys.stdout.flush()
    stdout, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # Blender says a line for each file, and the add-on for each history
    bpy.ops.wm.read_factory_settings(use_empty=True)
    blender_addon.register()
    entry = {"id": "a", "name": "mug", "size": 1.0, "picture": "eJw=", "settings": {"images": ["a.png"], "seed": 1}}
    properties: dict[str, Any] = {"images": '["//a.png"]', "seed": 3, "steps": 2, "size": 1.0, "model": "mini"}
    with folder() as work:
        while not tally.enough:
            bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
            target = bpy.data.objects.new("cube", bpy.data.meshes.new("cube"))
            bpy.context.scene.collection.objects.link(target)
            for name, value in properties.items():
                changed = strange({"a": value}, tally.random)
                _put(target, made.PREFIX + name, changed.get("a") if isinstance(changed, dict) else changed)
            file = work / f"{tally.tried}.blend"
            text = json.dumps([strange(entry, tally.random) for _ in range(tally.random.randint(0, 80))])
            if tally.random.random() < 0.3:
                text = mutated(text.encode(), tally.random).decode("utf-8", "ignore").replace("\0", "")
            bpy.ops.wm.save_as_mainfile(filepath=str(file))  # writes its own history: the strange one comes after it
            history._read = False
            bpy.context.scene.espalier_history = text
            with tally.trial(refused=(made.Unreadable,)):
                history._load()
                bpy.ops.wm.save_mainfile()
                bpy.ops.wm.open_mainfile(filepath=str(file))
                made.shown(bpy.data.objects["cube"], "seed")
                if made.is_made(bpy.data.objects["cube"]):
                    made.recall(bpy.data.objects["cube"])
            if len(history.entries) > history.MAX_ENTRIES:
                tally.fault(f"{len(history.entries)} entries")
            file.unlink()
    blender_addon.unregister()
    sys.stdout.flush()
    os.dup2(stdout, 1)


def _put(target: Any, name: str, value: object) -> None:
    """Keep a value as a custom property, if Blender takes it."""
    if isinstance(value, str):
        value = printable(value)  # a lone surrogate leaves Blender's Python with an exception that nobody raised
    try:
        target[name] = value
    except (TypeError, ValueError, OverflowError, UnicodeError):
        target[name] = "strange"


def disks(tally: Tally) -> None:
    """Assets written on a disk that is full after any number of bytes. The earlier ones stay, nothing else is left."""
    from backend.serving.outputs import ENDINGS

    with folder() as work:
        paths = [work / f"mug{ending}" for ending in (".glb", ".texture.png", ".npz", ".raw.ply")]
        assert {"".join(path.suffixes) for path in paths} <= set(ENDINGS.values())
        contents = {path: _content(path, tally.random.randrange(1000)) for path in paths}
        for path, content in contents.items():
            write_whole(path, content)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        while not tally.enough:
            new = {path: _content(path, tally.random.randrange(1000)) for path in paths}
            resource.setrlimit(resource.RLIMIT_FSIZE, (tally.random.randrange(1 << 14), hard))
            try:
                with tally.trial(refused=(OSError,)), written_together(*paths) as parts:
                    for part, path in zip(parts, paths, strict=True):
                        if path.suffix not in CHECKED or tally.random.random() < 0.5:
                            part.write_bytes(new[path])
                        else:
                            _write_carelessly(part, new[path])
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            there = {path: path.read_bytes() for path in paths}
            if there not in (contents, new) or not all(map(is_whole, paths)):
                tally.fault("a file is neither its old content nor the new one")
            contents = there
            if left_behind(work) or len(list(work.iterdir())) != len(paths):
                tally.fault("a partial file is left")


def _write_carelessly(part: Path, content: bytes) -> None:
    """As Blender does: what does not fit is dropped without a word."""
    handle = os.open(part, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        os.write(handle, content)
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
    finally:
        os.close(handle)


def _content(path: Path, seed: int) -> bytes:
    """A whole file of this kind, of up to some kilobytes."""
    import io
    import struct

    from PIL import Image

    values = np.random.default_rng(seed).integers(0, 256, (8 + seed % 50, 40, 3), dtype=np.uint8)
    stream = io.BytesIO()
    match path.suffix:
        case ".glb":
            text = json.dumps({"asset": {"version": "2.0"}, "extras": values.tolist()}).encode()
            text += b" " * (-len(text) % 4)
            body = struct.pack("<I4s", len(text), b"JSON") + text
            return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body
        case ".png":
            Image.fromarray(values).save(stream, "PNG")
        case ".npz":
            np.savez(stream, values=values)
        case _:
            stream.write(b"ply\nformat ascii 1.0\n" + values.tobytes())
    return stream.getvalue()

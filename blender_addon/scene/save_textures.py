"""Saves packed textures as files beside the .blend."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import bpy

from ...backend.files import write_whole
from ...backend.names import asset_name, key, longest_in, numbered
from .export_images import Picture

FOLDER = "//textures/"


def packed_images(objects: Iterable[bpy.types.Object]) -> list[bpy.types.Image]:
    """The packed images in the materials of objects, in the order in which they are found. Linked ones are left out."""
    return list(dict.fromkeys(image for target in objects for image in _images(target)))


def _images(target: bpy.types.Object) -> Iterator[bpy.types.Image]:
    for slot in target.material_slots:
        material = slot.material
        if material is None or material.node_tree is None:
            continue
        for node in material.node_tree.nodes:
            image = node.image if node.type == "TEX_IMAGE" else None
            if image is None or image.library is not None or image.source not in ("FILE", "GENERATED"):
                continue
            if image.packed_file is not None:
                yield image


def save(images: Iterable[bpy.types.Image]) -> list[Path]:
    """Write packed images into the folder ``textures`` beside the .blend, and use these files instead.

    A file that is there is never replaced: one of the same content is used, else the new one gets a number. If one
    cannot be written, those before it are saved. Raises OSError, RuntimeError.
    """
    folder = Path(bpy.path.abspath(FOLDER))
    folder.mkdir(exist_ok=True)
    saved = []
    for image in images:
        content = Picture(image).png()
        named = asset_name(Path(bpy.path.abspath(image.filepath_raw) or image.name).stem, longest_in(folder))
        there = {key(path.name): path for path in folder.iterdir()}
        used = {key(other.filepath_raw) for other in bpy.data.images if other != image}

        def is_free(name: str, content: bytes = content, there: dict[str, Path] = there, used: set[str] = used) -> bool:
            path = there.get(key(f"{name}.png"))
            is_same = path is None or (path.is_file() and path.read_bytes() == content)
            return is_same and key(f"{FOLDER}{name}.png") not in used

        path = folder / f"{numbered(named, is_free)}.png"
        if not path.is_file():
            write_whole(path, content)
        image.filepath_raw = FOLDER + path.name
        image.source = "FILE"
        image.unpack(method="REMOVE")
        if image.is_dirty:
            image.reload()
        saved.append(path)
    return saved

"""Saves packed textures as files beside the .blend."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

import bpy

from ...backend.files import write_whole
from ...backend.formats import UDIM
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
            if image is None or image.library is not None or image.source not in ("FILE", "GENERATED", "TILED"):
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
    saved: list[Path] = []
    for image in images:
        tiles = Picture(image).tile_pngs()
        contents = {f".{tile}.png": png for tile, png in tiles.items()} if tiles else {".png": Picture(image).png()}
        ending = f".{UDIM}.png" if tiles else ".png"
        stem = Path(bpy.path.abspath(image.filepath_raw) or image.name).stem.removesuffix(f".{UDIM}")
        named = asset_name(stem, longest_in(folder))
        there = {key(path.name): path for path in folder.iterdir()}
        used = {key(other.filepath_raw) for other in bpy.data.images if other != image}

        free = numbered(named, partial(_is_free, contents, ending, there, used))
        paths = {folder / (free + each): png for each, png in contents.items()}
        for path, png in paths.items():
            if not path.is_file():
                write_whole(path, png)
        image.filepath_raw = FOLDER + free + ending
        image.source = "TILED" if tiles else "FILE"
        image.unpack(method="REMOVE")
        if image.is_dirty:
            image.reload()
        saved += paths
    return saved


def _is_free(
    contents: Mapping[str, bytes], ending: str, there: Mapping[str, Path], used: Collection[str], name: str
) -> bool:
    """Whether an image can have this name: its files, by ending, are not there or the same, and its path is unused."""
    files = [(there.get(key(name + each)), png) for each, png in contents.items()]
    same = all(path is None or (path.is_file() and path.read_bytes() == png) for path, png in files)
    return same and key(FOLDER + name + ending) not in used

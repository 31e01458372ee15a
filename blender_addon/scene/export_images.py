"""The images of an object's materials, as files that other programs read."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray

from ...backend.files import write_whole
from ...backend.formats import TILES, UDIM
from ...backend.names import asset_name
from ..translations import translate
from .material import GLTF_GROUP, GLTF_OCCLUSION, load_tiles
from .stand_in import lent_name

ACROSS = 2  # how many of ``TILES`` lie side by side
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Picture:
    """An image of a material. ``other`` is the ending of its file if it is none of the kinds of ``TEXTURES``."""

    image: bpy.types.Image
    other: str = ""

    @property
    def tiles(self) -> tuple[int, ...]:
        """The numbers of its UDIM tiles; empty if it has none."""
        return tuple(tile.number for tile in self.image.tiles) if self.image.source == "TILED" else ()

    @property
    def side(self) -> int:
        """The longer side in pixels, of tiles that of the largest.

        It is read from the PNG if that is there: Blender would decode the image.
        """
        contents = list(self.tile_pngs().values()) if self.tiles else [self._content()]
        return max(max(struct.unpack_from(">II", png, 16) if png else tuple(self.image.size)) for png in contents)

    def png(self) -> bytes:
        """The image as PNG: as it is, if it is one and was not painted on since. Tiles become one image.

        Raises OSError, RuntimeError, and ValueError if tiles are others than ours.
        """
        content = self._content()
        if content:
            return content
        with _copy(self.image) as copy:
            return _encoded(copy)

    def write(self, path: Path, most: int, *, flipped: bool = False) -> None:
        """Write the image as PNG, with sides of at most ``most`` pixels. Raises as ``png`` does.

        ``flipped`` turns the direction of green in a normal map, from up to down. If the path is one of tiles, these
        become files, and each has at most ``most`` pixels.
        """
        if UDIM in path.name:
            for tile, content in self.tile_pngs().items():
                with _opened(content, self.image) as image:
                    one = path.with_name(path.name.replace(UDIM, str(tile)))
                    Picture(image).write(one, most, flipped=flipped)
            return
        side = ACROSS * self.side if self.tiles else self.side
        if side <= most and not flipped:
            write_whole(path, self.png())
            return
        with _copy(self.image) as copy:
            if side > most:
                width, height = copy.size
                copy.scale(max(width * most // side, 1), max(height * most // side, 1))
            if flipped:
                pixels = np.empty(copy.size[0] * copy.size[1] * 4, np.float32)
                copy.pixels.foreach_get(pixels)
                pixels[1::4] = 1 - pixels[1::4]
                copy.pixels.foreach_set(pixels)
            write_whole(path, _encoded(copy))

    def tile_pngs(self) -> dict[int, bytes]:
        """The PNGs of its UDIM tiles, by number; empty if it has none. Raises OSError, RuntimeError."""
        image, tiles = self.image, self.tiles
        if tiles and image.is_dirty:
            return _painted_tiles(image)
        packed = {tile.tile_number: tile.packed_file for tile in image.packed_files}
        path = bpy.path.abspath(image.filepath, library=image.library)
        found = {}
        for tile in tiles:
            there = packed.get(tile)
            content = bytes(there.data) if there is not None else Path(path.replace(UDIM, str(tile))).read_bytes()
            found[tile] = content if content.startswith(PNG) else _as_png(content, image)
        return found

    def _content(self) -> bytes:
        """The PNG that the image was made from; empty if it was made otherwise, or painted on since."""
        image = self.image
        if image.is_dirty or image.source != "FILE":
            return b""
        if image.packed_file is not None:
            content = bytes(image.packed_file.data)
        else:
            path = Path(bpy.path.abspath(image.filepath, library=image.library))
            content = path.read_bytes() if path.is_file() else b""
        return content if content.startswith(PNG) and len(content) > 24 else b""


def pictures_of(mesh: bpy.types.Mesh) -> dict[str, Picture]:
    """The images of a mesh's materials, by kind: ``texture``, ``normal_map``, ``occlusion``, and any others."""
    found: dict[str, Picture] = {}
    for material in mesh.materials:
        if material is None or material.node_tree is None:
            continue
        for node in material.node_tree.nodes:
            if node.type != "TEX_IMAGE" or node.image is None or not _is_there(node.image):
                continue
            if any(picture.image == node.image for picture in found.values()):
                continue
            kind = _kind(node.outputs["Color"])
            if not kind or kind in found:
                kind = f"image {len(found)}"
                found[kind] = Picture(node.image, f".{len(found)}.png")
            else:
                found[kind] = Picture(node.image)
    return found


def _is_there(image: bpy.types.Image) -> bool:
    """Whether an image can be read. A packed one can: its size is not asked for, which would decode it."""
    return image.packed_file is not None or min(image.size) > 0


def _kind(output: bpy.types.NodeSocket) -> str:
    """What an image is for, by what its node leads to; empty if that is none of our kinds."""
    for link in output.links:
        node, socket = link.to_node, link.to_socket
        if node.type == "BSDF_PRINCIPLED" and socket.identifier == "Base Color":
            return "texture"
        if node.type == "NORMAL_MAP":
            return "normal_map"
        if node.type == "SEPARATE_COLOR" and any(
            onward.to_node.type == "GROUP"
            and onward.to_node.node_tree is not None
            and onward.to_node.node_tree.name.split(".")[0] == GLTF_GROUP
            and onward.to_socket.name == GLTF_OCCLUSION
            for onward in node.outputs[0].links
        ):
            return "occlusion"
    return ""


def halve_uvs(meshes: Iterable[bpy.types.Mesh], pictures: Iterable[Picture]) -> None:
    """Lay meshes out for images that were tiles and are one each. Raises ValueError if others of them were not."""
    for picture in pictures:
        if not picture.tiles:
            words = translate("{name} has no UDIM tiles, but other images of the object do. Choose OBJ, FBX or USDZ")
            raise ValueError(words.format(name=picture.image.name))
    for mesh in meshes:
        layer = next(each for each in mesh.uv_layers if each.active_render)
        values = mesh.attributes[layer.name].data  # what is written to ``layer.uv`` would change other copies, too
        uvs = np.empty((len(values), 2), np.float32)
        values.foreach_get("vector", uvs.ravel())
        values.foreach_set("vector", uvs.ravel() / ACROSS)


@contextmanager
def replace_images(
    meshes: Sequence[bpy.types.Mesh], pictures: Mapping[str, Picture], places: Mapping[str, Path]
) -> Iterator[None]:
    """Let meshes have copies of their materials whose images are the files at ``places``, for a while."""
    with ExitStack() as stack:
        loaded: dict[bpy.types.Image, bpy.types.Image] = {}
        for kind, picture in pictures.items():
            tiles, path = UDIM in places[kind].name, str(places[kind])
            copy = load_tiles(path, picture.tiles) if tiles else bpy.data.images.load(path)
            copy.colorspace_settings.name = picture.image.colorspace_settings.name
            copy.alpha_mode = picture.image.alpha_mode
            loaded[picture.image] = copy
            stack.enter_context(lent_name(picture.image, copy, bpy.data.images))
        before = [(mesh, index, material) for mesh in meshes for index, material in enumerate(mesh.materials)]
        copies: dict[bpy.types.Material, bpy.types.Material] = {}
        for mesh, index, material in before:
            if material is None or material.node_tree is None:
                continue
            if material not in copies:
                copies[material] = material.copy()
                stack.enter_context(lent_name(material, copies[material], bpy.data.materials))
                for node in copies[material].node_tree.nodes:
                    if node.type == "TEX_IMAGE" and node.image in loaded:
                        node.image = loaded[node.image]
            mesh.materials[index] = copies[material]
        try:
            yield
        finally:
            for mesh, index, material in before:
                mesh.materials[index] = material


@contextmanager
def _copy(image: bpy.types.Image) -> Iterator[bpy.types.Image]:
    """A copy of an image's pixels in 8 bits, without its file. Tiles become one image."""
    pixels = _whole(image) if image.source == "TILED" else _pixels(image)
    height, width = pixels.shape[:2]
    copy: Any = bpy.data.images.new("x", width, height, alpha=image.channels == 4)
    try:
        copy.colorspace_settings.name = image.colorspace_settings.name
        copy.pixels.foreach_set(pixels.ravel())
        yield copy
    finally:
        bpy.data.images.remove(copy)


def _pixels(image: bpy.types.Image) -> NDArray[np.float32]:
    """The pixels [H, W, 4] of an image, row 0 at the bottom."""
    width, height = image.size
    pixels = np.empty((height, width, 4), np.float32)
    image.pixels.foreach_get(pixels.ravel())
    return pixels


def _whole(image: bpy.types.Image) -> NDArray[np.float32]:
    """The pixels [2 H, 2 W, 4] of our tiles, side by side. Smaller tiles are enlarged. Raises ValueError."""
    picture = Picture(image)
    if sorted(picture.tiles) != list(TILES):
        words = translate("{name} has other UDIM tiles than 1001, 1002, 1011 and 1012. Choose OBJ, FBX or USDZ")
        raise ValueError(words.format(name=image.name))
    side = picture.side
    pixels = np.empty((ACROSS * side, ACROSS * side, 4), np.float32)
    for tile, content in picture.tile_pngs().items():
        row, column = divmod(tile - TILES[0], 10)
        with _opened(content, image) as one:
            if tuple(one.size) != (side, side):
                one.scale(side, side)
            pixels[row * side : (row + 1) * side, column * side : (column + 1) * side] = _pixels(one)
    return pixels


def _as_png(content: bytes, like: bpy.types.Image) -> bytes:
    """The file of an image, in another format, as PNG."""
    with _opened(content, like) as image, _copy(image) as copy:
        return _encoded(copy)


def _painted_tiles(image: bpy.types.Image) -> dict[int, bytes]:
    """The PNGs of tiles that were painted on, which the image itself keeps as they are. Raises RuntimeError.

    Packing them would drop those tiles that Blender has not decoded.
    """
    import tempfile

    if "save_copy" not in image.bl_rna.functions["save"].parameters:  # in Blender 4.2 and 4.3
        raise RuntimeError(
            translate("{name} was painted on. Save it in the image editor first").format(name=image.name)
        )
    before = image.file_format
    with tempfile.TemporaryDirectory(prefix="espalier-") as folder:
        path = str(Path(folder) / f"x.{UDIM}.png")
        try:
            image.file_format = "PNG"
            image.save(filepath=path, save_copy=True)
        finally:
            image.file_format = before
        return {tile.number: Path(path.replace(UDIM, str(tile.number))).read_bytes() for tile in image.tiles}


@contextmanager
def _opened(content: bytes, like: bpy.types.Image) -> Iterator[bpy.types.Image]:
    """The file of an image as an image, with the colour space of another one."""
    image = bpy.data.images.new("x", 1, 1)
    try:
        image.colorspace_settings.name = like.colorspace_settings.name
        image.source = "FILE"
        image.pack(data=content, data_len=len(content))
        yield image
    finally:
        bpy.data.images.remove(image)


def _encoded(image: bpy.types.Image) -> bytes:
    """An image as PNG."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="espalier-") as folder:
        path = Path(folder) / f"{asset_name(image.name)}.png"
        image.file_format = "PNG"
        image.filepath_raw = str(path)
        image.save()
        return path.read_bytes()

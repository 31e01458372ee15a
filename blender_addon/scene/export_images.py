"""The images of an object's materials, as files that other programs read."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from ...backend.files import write_whole
from ...backend.names import asset_name
from .mesh_import import GLTF_GROUP, GLTF_OCCLUSION
from .stand_in import lent_name

PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Picture:
    """An image of a material. ``other`` is the ending of its file if it is none of the kinds of ``TEXTURES``."""

    image: bpy.types.Image
    other: str = ""

    @property
    def side(self) -> int:
        """The longer side in pixels. It is read from the PNG if that is there: Blender would decode the image."""
        content = self._content()
        return max(struct.unpack_from(">II", content, 16) if content else tuple(self.image.size))

    def png(self) -> bytes:
        """The image as PNG: as it is, if it is one and was not painted on since. Raises OSError, RuntimeError."""
        content = self._content()
        if content:
            return content
        with _copy(self.image) as copy:
            return _encoded(copy)

    def write(self, path: Path, most: int, *, flipped: bool = False) -> None:
        """Write the image as PNG, with sides of at most ``most`` pixels. Raises OSError, RuntimeError.

        ``flipped`` turns the direction of green in a normal map, from up to down.
        """
        side = self.side
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


@contextmanager
def replace_images(mesh: bpy.types.Mesh, pictures: Mapping[str, Picture], places: Mapping[str, Path]) -> Iterator[None]:
    """Let a mesh have copies of its materials whose images are the files at ``places``, for a while."""
    with ExitStack() as stack:
        loaded: dict[bpy.types.Image, bpy.types.Image] = {}
        for kind, picture in pictures.items():
            copy = bpy.data.images.load(str(places[kind]))
            copy.colorspace_settings.name = picture.image.colorspace_settings.name
            copy.alpha_mode = picture.image.alpha_mode
            loaded[picture.image] = copy
            stack.enter_context(lent_name(picture.image, copy, bpy.data.images))
        before = list(mesh.materials)
        copies: dict[bpy.types.Material, bpy.types.Material] = {}
        for index, material in enumerate(before):
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
            for index, material in enumerate(before):
                mesh.materials[index] = material


@contextmanager
def _copy(image: bpy.types.Image) -> Iterator[bpy.types.Image]:
    """A copy of an image's pixels in 8 bits, without its file."""
    width, height = image.size
    copy: Any = bpy.data.images.new("x", width, height, alpha=image.channels == 4)
    try:
        copy.colorspace_settings.name = image.colorspace_settings.name
        pixels = np.empty(width * height * 4, np.float32)
        image.pixels.foreach_get(pixels)
        copy.pixels.foreach_set(pixels)
        yield copy
    finally:
        bpy.data.images.remove(copy)


def _encoded(image: bpy.types.Image) -> bytes:
    """An image as PNG."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="espalier-") as folder:
        path = Path(folder) / f"{asset_name(image.name)}.png"
        image.file_format = "PNG"
        image.filepath_raw = str(path)
        image.save()
        return path.read_bytes()

"""The material of a result: its images in the .blend, packed, and the nodes that show them.

Nothing here reads ``image.size`` or ``image.pixels``: that would decode the packed PNG.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import bpy

from ...backend import protocol
from ...backend.asset_facts import ROUGHNESS, image_name
from ...backend.formats import TEXTURES, TILES, UDIM
from ...backend.names import key, numbered
from .made import OWN

UV_MAP = "UVMap"
#: Blender's glTF exporter looks for occlusion in a node group of this name, at the input of this name.
GLTF_GROUP, GLTF_OCCLUSION = "glTF Material Output", "Occlusion"


def read_images(result: protocol.Result) -> dict[str, bytes | str]:
    """The content of a result's images by kind, or the path of their tiles. Raises OSError, ValueError."""
    found: dict[str, bytes | str] = {}
    for kind in TEXTURES:
        if result.tiles.get(kind):
            for tile in TILES:
                _png(result.tiles[kind].replace(UDIM, str(tile)))
            found[kind] = result.tiles[kind]
        elif path := getattr(result, kind):
            found[kind] = _png(path)
    return found


def _png(path: str) -> bytes:
    """The content of a PNG file. Raises ValueError if it is no PNG."""
    content = Path(path).read_bytes()
    if not content.startswith(b"\x89PNG\r\n"):
        raise ValueError("the texture is not a PNG")
    return content


def create_images(name: str, contents: Mapping[str, bytes | str]) -> dict[str, bpy.types.Image]:
    """The images of the asset ``name`` by kind, from what ``read_images`` found."""
    made = {}
    for kind, content in contents.items():
        title, color_space = image_name(name, kind), "sRGB" if kind == "texture" else "Non-Color"
        if isinstance(content, bytes):
            made[kind] = create_image(title, content, color_space)
        else:
            made[kind] = create_tiled_image(title, content, color_space)
    return made


def create_image(name: str, png: bytes, color_space: str = "sRGB") -> bpy.types.Image:
    """An image that is packed into the .blend. Its path, where *Unpack* would write it, is no other image's."""
    image = bpy.data.images.new(name, 1, 1)
    image.colorspace_settings.name = color_space
    image.filepath_raw = _free_path(image, ".png")
    image.source = "FILE"
    image.pack(data=png, data_len=len(png))
    return image


def create_tiled_image(name: str, path: str, color_space: str = "sRGB") -> bpy.types.Image:
    """An image of ``TILES`` that is packed as ``create_image`` packs it. ``path`` has ``UDIM`` for their numbers."""
    image = load_tiles(path, TILES)
    image.name = name
    image.colorspace_settings.name = color_space
    image.pack()
    image.filepath_raw = _free_path(image, f".{UDIM}.png")
    for tile in image.packed_files:  # packing gives them the path of their file, with all its folders
        tile.filepath = image.filepath_raw.replace(UDIM, str(tile.tile_number))
    return image


def load_tiles(path: str, tiles: Iterable[int]) -> bpy.types.Image:
    """An image whose UDIM tiles are files; ``path`` has ``UDIM`` for their numbers."""
    image = bpy.data.images.load(path)
    image.source = "TILED"
    there = {tile.number for tile in image.tiles}
    for number in tiles:
        if number not in there:
            image.tiles.new(number)
    return image


def _free_path(image: bpy.types.Image, ending: str) -> str:
    """Where *Unpack* would write an image: no other image has this path."""
    taken = {key(other.filepath_raw) for other in bpy.data.images if other != image}
    free = numbered(bpy.path.clean_name(image.name), lambda one: key(f"//textures/{one}{ending}") not in taken)
    return f"//textures/{free}{ending}"


def create_material(name: str, images: Mapping[str, bpy.types.Image], result: protocol.Result) -> bpy.types.Material:
    """A Principled BSDF with a result's images, by kind: base colour, tangent-space normals (green up), and occlusion.

    What ``result`` says decides how they are used. The texture's alpha is, if much of the object is see-through. If the
    model made materials, or the roughness was estimated, green and blue of the occlusion are the roughness and the
    metalness. Backs of faces are shown, as Blender does by itself: a sheet has no inside.
    """
    material = bpy.data.materials.new(name)
    material[OWN] = True
    if bpy.app.version < (5, 0, 0):
        material.use_nodes = True  # from 5.0 on every material has nodes
    tree = material.node_tree
    shader = next(node for node in tree.nodes if node.type == "BSDF_PRINCIPLED")  # its name is translated
    shader.inputs["Roughness"].default_value = ROUGHNESS
    texture = _image_node(tree, images["texture"], shader.location.x - 320, shader.location.y)
    tree.links.new(texture.outputs["Color"], shader.inputs["Base Color"])
    if result.see_through:
        tree.links.new(texture.outputs["Alpha"], shader.inputs["Alpha"])
    if "normal_map" in images:
        _bend_normals(tree, shader, images["normal_map"])
    if "occlusion" in images:
        rough = result.materials or result.settings.get("roughness") == "estimated"
        _unpack(tree, shader, images["occlusion"], rough)
    tree.nodes.active = texture  # Solid shading set to Texture shows the active image node
    return material


def _image_node(tree: bpy.types.NodeTree, image: bpy.types.Image, x: float, y: float) -> Any:
    node = tree.nodes.new("ShaderNodeTexImage")
    node.image = image
    node.location = (x, y)
    return node


def _bend_normals(tree: bpy.types.NodeTree, shader: Any, image: bpy.types.Image) -> None:
    """Let a shader have the normals of a map."""
    normals = _image_node(tree, image, shader.location.x - 560, shader.location.y - 320)
    bump = tree.nodes.new("ShaderNodeNormalMap")
    bump.uv_map = UV_MAP
    bump.location = (normals.location.x + 320, normals.location.y)
    tree.links.new(normals.outputs["Color"], bump.inputs["Color"])
    tree.links.new(bump.outputs["Normal"], shader.inputs["Normal"])


def _unpack(tree: bpy.types.NodeTree, shader: Any, image: bpy.types.Image, rough: bool) -> None:
    """Take an image of occlusion, roughness and metalness apart.

    The occlusion is only for exported files. It changes no render, because Cycles and EEVEE compute it themselves.
    ``rough``: the other two are used.
    """
    packed = _image_node(tree, image, shader.location.x - 320, shader.location.y + 360)
    channels = tree.nodes.new("ShaderNodeSeparateColor")
    channels.location = (packed.location.x + 320, packed.location.y)
    exported = tree.nodes.new("ShaderNodeGroup")
    exported.node_tree = _gltf_group()
    exported.location = (channels.location.x + 200, channels.location.y)
    tree.links.new(packed.outputs["Color"], channels.inputs["Color"])
    tree.links.new(channels.outputs["Red"], exported.inputs[GLTF_OCCLUSION])
    if rough:
        tree.links.new(channels.outputs["Green"], shader.inputs["Roughness"])
        tree.links.new(channels.outputs["Blue"], shader.inputs["Metallic"])


def _gltf_group() -> bpy.types.ShaderNodeTree:
    """The node group that Blender's glTF exporter reads: the file's own, or a new one."""
    group = bpy.data.node_groups.get((GLTF_GROUP, None))  # linked ones cannot be changed
    if group is None:
        group = bpy.data.node_groups.new(GLTF_GROUP, "ShaderNodeTree")
    if GLTF_OCCLUSION not in group.interface.items_tree:
        group.interface.new_socket(GLTF_OCCLUSION, socket_type="NodeSocketFloat")
    return group

"""Turns arrays into an object with mesh, UVs, material and packed images. No file importer, no operator.

Blender cannot draw during this, so it must be fast. The attributes ``position`` and ``.corner_vert`` take arrays three
times faster than ``vertices`` and ``loops``. ``image.size`` and ``image.pixels`` would decode the packed PNG, so
nothing here reads them. ``mesh.validate()`` takes 100 ms, so numpy checks the indices instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray

from ...backend import protocol
from ...backend.asset_facts import ROUGHNESS, image_name, standing
from ...backend.names import key, numbered
from .made import NOTE, RAW, remember, remember_cameras

UV_MAP = "UVMap"
#: Blender's glTF exporter looks for occlusion in a node group of this name, at the input of this name.
GLTF_GROUP, GLTF_OCCLUSION = "glTF Material Output", "Occlusion"


def create_object(
    result: protocol.Result,
    *,
    name: str,
    collection: bpy.types.Collection,
    settings: Mapping[str, Any],
    size: float = 1.0,
) -> bpy.types.Object:
    """Make the object of a result and link it into a collection.

    ``settings`` are kept as custom properties (``result.settings`` holds them with the defaults filled in).
    ``size`` is the length of the object's longest side, in metres. Its origin is the centre of its bottom.
    Raises ValueError, OSError or zipfile.BadZipFile if the result's files are damaged. Then nothing is made.
    """
    with np.load(result.arrays, allow_pickle=False) as arrays:
        vertices, faces, uvs = (_array(arrays, key) for key in ("vertices", "faces", "uvs"))
    vertices, faces, uvs = _checked(vertices, faces, uvs)
    texture = _png(result.texture)
    normals = _png(result.normal_map) if result.normal_map else None
    occlusion = _png(result.occlusion) if result.occlusion else None
    raw = _raw_arrays(result.raw) if result.raw else None
    factor, shift = stand(vertices, size)
    mesh = create_mesh(name, vertices * factor + shift, faces)
    mesh.uv_layers.new(name=UV_MAP, do_init=False).uv.foreach_set("vector", uvs.ravel())
    normal_image = None if normals is None else create_image(image_name(name, "normal_map"), normals, "Non-Color")
    occlusion_image = None if occlusion is None else create_image(image_name(name, "occlusion"), occlusion, "Non-Color")
    mesh.materials.append(
        create_material(name, create_image(image_name(name, "texture"), texture), normal_image, occlusion_image)
    )
    created = bpy.data.objects.new(name, mesh)
    remember(created, settings, size)
    remember_cameras(created, result, vertices)
    if result.note:
        created[NOTE] = result.note
    collection.objects.link(created)
    if raw is not None:
        beside = create_raw(f"{name} raw", raw[0] * factor + shift, *raw[1:])
        beside.parent = created  # so that it moves with the object
        beside[RAW] = True
        collection.objects.link(beside)
    return created


def stand(vertices: NDArray[np.float32], size: float) -> tuple[np.float32, NDArray[np.float32]]:
    """The factor and the shift [3] that scale vertices [V, 3] and put them on the origin.

    The longest side of their bounding box becomes ``size``, and the centre of its bottom becomes the origin.
    """
    factor, shift = standing(vertices.min(axis=0).tolist(), vertices.max(axis=0).tolist(), size)
    return np.float32(factor), np.array(shift, np.float32)


def create_raw(
    name: str, vertices: NDArray[np.float32], faces: NDArray[np.int32], colors: NDArray[np.float32]
) -> bpy.types.Object:
    """The mesh as it was decoded, hidden in viewports and renders, with ``colors`` [V, 3] sRGB as a color attribute."""
    mesh = create_mesh(name, vertices, faces)
    shades = np.ones((len(vertices), 4), np.float32)
    shades[:, :3] = colors
    attribute = mesh.color_attributes.new("Color", "BYTE_COLOR", "POINT")
    attribute.data.foreach_set("color_srgb", shades.ravel())
    created = bpy.data.objects.new(name, mesh)
    created.hide_viewport = created.hide_render = True
    return created


def create_mesh(name: str, vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> bpy.types.Mesh:
    """A smooth-shaded mesh from ``vertices`` [V, 3] and ``faces`` [F, 3]."""
    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(len(vertices))
    mesh.loops.add(faces.size)
    mesh.polygons.add(len(faces))
    mesh.attributes["position"].data.foreach_set("vector", vertices.ravel())
    mesh.attributes[".corner_vert"].data.foreach_set("value", faces.ravel())
    mesh.polygons.foreach_set("loop_start", np.arange(0, faces.size, 3, dtype=np.int32))
    mesh.update(calc_edges=True)
    return mesh


def create_image(name: str, png: bytes, color_space: str = "sRGB") -> bpy.types.Image:
    """An image that is packed into the .blend. Its path, where *Unpack* would write it, is no other image's."""
    image = bpy.data.images.new(name, 1, 1)
    image.colorspace_settings.name = color_space
    taken = {key(other.filepath_raw) for other in bpy.data.images}
    free = numbered(bpy.path.clean_name(image.name), lambda one: key(f"//textures/{one}.png") not in taken)
    image.filepath_raw = f"//textures/{free}.png"
    image.source = "FILE"
    image.pack(data=png, data_len=len(png))
    return image


def create_material(
    name: str,
    image: bpy.types.Image,
    normal_image: bpy.types.Image | None = None,
    occlusion_image: bpy.types.Image | None = None,
) -> bpy.types.Material:
    """A Principled BSDF with the image as its base colour and, if given, a map of tangent-space normals (green up).

    An ambient occlusion map is only for exported files. It changes no render, because Cycles and EEVEE compute
    occlusion themselves.
    """
    material = bpy.data.materials.new(name)
    if bpy.app.version < (5, 0, 0):
        material.use_nodes = True  # from 5.0 on every material has nodes
    nodes, links = material.node_tree.nodes, material.node_tree.links
    shader = next(node for node in nodes if node.type == "BSDF_PRINCIPLED")  # its name is translated
    shader.inputs["Roughness"].default_value = ROUGHNESS
    texture = nodes.new("ShaderNodeTexImage")
    texture.image = image
    texture.location = (shader.location.x - 320, shader.location.y)
    links.new(texture.outputs["Color"], shader.inputs["Base Color"])
    if normal_image is not None:
        normals = nodes.new("ShaderNodeTexImage")
        normals.image = normal_image
        normals.location = (texture.location.x - 240, texture.location.y - 320)
        bump = nodes.new("ShaderNodeNormalMap")
        bump.uv_map = UV_MAP
        bump.location = (normals.location.x + 320, normals.location.y)
        links.new(normals.outputs["Color"], bump.inputs["Color"])
        links.new(bump.outputs["Normal"], shader.inputs["Normal"])
    if occlusion_image is not None:
        occlusion = nodes.new("ShaderNodeTexImage")
        occlusion.image = occlusion_image
        occlusion.location = (texture.location.x, texture.location.y + 360)
        channels = nodes.new("ShaderNodeSeparateColor")
        channels.location = (occlusion.location.x + 320, occlusion.location.y)
        exported = nodes.new("ShaderNodeGroup")
        exported.node_tree = _gltf_group()
        exported.location = (channels.location.x + 200, channels.location.y)
        links.new(occlusion.outputs["Color"], channels.inputs["Color"])
        links.new(channels.outputs["Red"], exported.inputs[GLTF_OCCLUSION])
    nodes.active = texture  # Solid shading set to Texture shows the active image node
    return material


def _gltf_group() -> bpy.types.ShaderNodeTree:
    """The node group that Blender's glTF exporter reads: the file's own, or a new one."""
    group = bpy.data.node_groups.get((GLTF_GROUP, None))  # linked ones cannot be changed
    if group is None:
        group = bpy.data.node_groups.new(GLTF_GROUP, "ShaderNodeTree")
    if GLTF_OCCLUSION not in group.interface.items_tree:
        group.interface.new_socket(GLTF_OCCLUSION, socket_type="NodeSocketFloat")
    return group


def _png(path: str) -> bytes:
    """The content of a PNG file. Raises ValueError if it is no PNG."""
    content = Path(path).read_bytes()
    if not content.startswith(b"\x89PNG\r\n"):
        raise ValueError("the texture is not a PNG")
    return content


def _raw_arrays(path: str) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
    """The vertices, faces and colours of the raw mesh. Raises ValueError."""
    with np.load(path, allow_pickle=False) as arrays:
        vertices, faces, colors = (_array(arrays, key) for key in ("vertices", "faces", "colors"))
    vertices, faces, _ = _checked(vertices, faces, np.zeros((len(faces), 3, 2), np.float32))
    if colors.shape != vertices.shape:
        raise ValueError(f"colours {colors.shape} do not match {len(vertices)} vertices")
    return vertices, faces, colors.astype(np.float32)


def _array(arrays: Mapping[str, NDArray[Any]], key: str) -> NDArray[Any]:
    if key not in arrays:
        raise ValueError(f"the arrays lack {key!r}")
    return arrays[key]


def _checked(
    vertices: NDArray[Any], faces: NDArray[Any], uvs: NDArray[Any]
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
    """The arrays as Blender needs them, without faces that use a vertex twice. Raises ValueError."""
    if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        raise ValueError(f"vertices {vertices.shape} and faces {faces.shape} do not make triangles")
    if uvs.shape != (len(faces), 3, 2):
        raise ValueError(f"uvs {uvs.shape} do not match {len(faces)} faces")
    if len(faces) == 0:
        raise ValueError("the mesh has no faces")
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise ValueError("a face refers to a vertex that does not exist")
    if not (np.isfinite(vertices).all() and np.isfinite(uvs).all()):
        raise ValueError("a coordinate is not a number")
    a, b, c = faces.T
    whole = (a != b) & (b != c) & (c != a)
    return (
        np.ascontiguousarray(vertices, np.float32),
        np.ascontiguousarray(faces[whole], np.int32),
        np.ascontiguousarray(uvs[whole], np.float32),
    )

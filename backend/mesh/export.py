"""Write a finished asset as binary glTF 2.0 or OBJ, and the raw mesh and Gaussians that it was made from as PLY."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..asset_facts import ROUGHNESS, image_name
from ..files import write_whole
from ..formats import hull_name
from . import Mesh
from .bake.tangents import tangent_space, unique_rows, vertex_normals

if TYPE_CHECKING:
    from ..models.gaussians import Gaussians
    from .finish import FinishedMesh
    from .hulls import Hull

# Codes of the glTF 2.0 specification.
FLOAT, UNSIGNED_INT = 5126, 5125
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
LINEAR, LINEAR_MIPMAP_LINEAR, REPEAT = 9729, 9987, 10497

#: The extension for meshes compressed with Draco. Positions and UVs are rounded to 1/16,384 of their range, normals to
#: about 0.1 degrees. Tangents stay exact: the extension has no smaller type for them.
DRACO = "KHR_draco_mesh_compression"
DRACO_POSITION, DRACO_UV, DRACO_NORMAL = 14, 14, 10  # bits
DRACO_LEVEL = 7  # of 10

#: The extension for levels of detail, and down to which share of the screen each is meant for.
LODS, COVERAGE = "MSFT_lod", (0.5, 0.2, 0.08, 0.0)


def write_glb(
    path: Path,
    mesh: FinishedMesh,
    texture: bytes,
    normal_map: bytes | None,
    name: str,
    occlusion: bytes | None = None,
    *,
    rough: bool = False,
    draco: bool = False,
    hulls: str = "",
) -> None:
    """Write one textured object as ``.glb``. The same input gives the same bytes.

    Args:
        path: file to write; an existing one is replaced.
        mesh: z up; written y up, (x, y, z) -> (x, z, -y), in metres, and with v down. Its levels of detail follow, by
            the extension MSFT_lod.
        texture: an sRGB PNG, embedded as base colour; with alpha if the mesh is ``see_through``.
        normal_map: a PNG of tangent-space normals, embedded together with the tangents that it was baked with, since
            viewers may compute others.
        name: name of the node, the mesh and the material.
        occlusion: a PNG such as that of ``packed``, embedded.
        rough: whether roughness and metalness are taken from it. Otherwise they are constant.
        draco: whether to compress the mesh, by the extension KHR_draco_mesh_compression.
        hulls: how to call its convex hulls (``formats.hull_name``), which follow as nodes of the scene; if empty, they
            are left out: most viewers would show them.
    """
    data = _Buffer()
    levels = [mesh, *map(mesh.level, mesh.lods)]
    primitives = [_primitive(data, level, tangents=normal_map is not None, draco=draco) for level in levels]
    names = [name, *(f"{name}_LOD{number}" for number in range(1, len(levels)))]
    nodes: list[dict[str, Any]] = [{"mesh": number, "name": word} for number, word in enumerate(names)]
    extensions = [DRACO] if draco else []
    if mesh.lods:
        extensions.append(LODS)
        nodes[0]["extensions"] = {LODS: {"ids": list(range(1, len(levels)))}}
        nodes[0]["extras"] = {"MSFT_screencoverage": list(COVERAGE[: len(levels)])}
    meshes: list[dict[str, Any]] = [
        {"name": word, "primitives": [{**primitive, "material": 0}]}
        for word, primitive in zip(names, primitives, strict=True)
    ]
    hull_meshes = _hull_meshes(data, mesh.hulls if hulls else (), name, hulls)
    in_scene = [0, *range(len(nodes), len(nodes) + len(hull_meshes))]
    nodes += [{"mesh": len(meshes) + number, "name": one["name"]} for number, one in enumerate(hull_meshes)]
    meshes += hull_meshes
    material: dict[str, Any] = {
        "name": name,
        "pbrMetallicRoughness": {
            "baseColorTexture": {"index": 0},
            "metallicFactor": 0.0,
            "roughnessFactor": ROUGHNESS,
        },
    }
    if mesh.see_through:
        material["alphaMode"] = "BLEND"
    if mesh.metallic is not None and not mesh.certificate.watertight:
        material["doubleSided"] = True  # a sheet, which TRELLIS.2 makes, has no inside
    images = {"texture": texture}
    if normal_map is not None:
        material["normalTexture"] = {"index": len(images)}
        images["normal_map"] = normal_map
    if occlusion is not None:
        if rough:
            factors = {"metallicFactor": 1.0, "roughnessFactor": 1.0}
            material["pbrMetallicRoughness"] |= factors | {"metallicRoughnessTexture": {"index": len(images)}}
        if mesh.occlusion is not None:
            material["occlusionTexture"] = {"index": len(images)}
        images["occlusion"] = occlusion
    document = {
        "asset": {"version": "2.0", "generator": "Espalier"},
        **({"extensionsUsed": extensions} if extensions else {}),
        **({"extensionsRequired": [DRACO]} if draco else {}),
        "scene": 0,
        "scenes": [{"nodes": in_scene}],
        "nodes": nodes,
        "meshes": meshes,
        "materials": [material],
        "textures": [{"sampler": 0, "source": number} for number in range(len(images))],
        "samplers": [{"magFilter": LINEAR, "minFilter": LINEAR_MIPMAP_LINEAR, "wrapS": REPEAT, "wrapT": REPEAT}],
        "images": [
            {"name": image_name(name, kind), "bufferView": data.view(image), "mimeType": "image/png"}
            for kind, image in images.items()
        ],
    }
    _write(path, document, data)


def write_hulls_glb(path: Path, hulls: Sequence[Hull], name: str) -> None:
    """Write the convex hulls of the object ``name`` as ``.glb``, y up, each a node without a material."""
    data = _Buffer()
    meshes = _hull_meshes(data, hulls, name, "")
    document = {
        "asset": {"version": "2.0", "generator": "Espalier"},
        "scene": 0,
        "scenes": [{"nodes": list(range(len(meshes)))}],
        "nodes": [{"mesh": number, "name": one["name"]} for number, one in enumerate(meshes)],
        "meshes": meshes,
    }
    _write(path, document, data)


def _hull_meshes(data: _Buffer, hulls: Sequence[Hull], name: str, pattern: str) -> list[dict[str, Any]]:
    """The meshes of convex hulls, their attributes and indices in the buffer."""
    found = []
    for number, hull in enumerate(hulls, 1):
        primitive = _plain(data, {"POSITION": _y_up(hull.vertices)}, hull.faces)
        found.append({"name": hull_name(name, number, pattern), "primitives": [primitive]})
    return found


def _write(path: Path, document: dict[str, Any], data: _Buffer) -> None:
    """Write a ``.glb``: what describes it, and its buffer."""
    document |= {
        "accessors": data.accessors,
        "bufferViews": data.views,
        "buffers": [{"byteLength": len(data.bytes)}],
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    body = _chunk(b"JSON", text, b" ") + _chunk(b"BIN\0", bytes(data.bytes), b"\0")
    write_whole(path, struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body)


def _primitive(data: _Buffer, mesh: FinishedMesh, *, tangents: bool, draco: bool) -> dict[str, Any]:
    """The mesh as attributes and indices in the buffer."""
    split = split_seams(mesh)
    attributes = {
        "POSITION": _y_up(split.vertices),
        "NORMAL": _y_up(split.normals),
        "TEXCOORD_0": (split.uvs * [1, -1] + [0, 1]).astype(np.float32),
    }
    if tangents:
        attributes["TANGENT"] = np.column_stack([_y_up(split.tangents), split.signs])
    return (_compressed if draco else _plain)(data, attributes, split.faces)


def packed(
    occlusion: np.ndarray, roughness: np.ndarray | None = None, metallic: np.ndarray | None = None
) -> np.ndarray:
    """Occlusion, roughness and metalness [H, W] uint8 as engines pack them (ORM): [H, W, 3] uint8.

    Red is how open the surface is, green the roughness, blue the metalness, 0 if that is not known. Where no roughness
    is known it is constant; then glTF has it as a factor, which is exact, and takes only red.
    """
    image = np.zeros((*occlusion.shape, 3), np.uint8)
    image[..., 0] = occlusion
    image[..., 1] = round(255 * ROUGHNESS) if roughness is None else roughness
    if metallic is not None:
        image[..., 2] = metallic
    return image


def _plain(data: _Buffer, attributes: dict[str, np.ndarray], faces: np.ndarray) -> dict[str, Any]:
    """The attributes and indices of a primitive, as they are."""
    numbers = {word: data.accessor(values, ARRAY_BUFFER, **_facts(word, values)) for word, values in attributes.items()}
    indices = faces.reshape(-1)
    return {"attributes": numbers, "indices": data.accessor(indices, ELEMENT_ARRAY_BUFFER, **_facts("", indices))}


def _compressed(data: _Buffer, attributes: dict[str, np.ndarray], faces: np.ndarray) -> dict[str, Any]:
    """The attributes and indices of a primitive, compressed with Draco.

    Draco orders vertices and faces anew, and rounds. The tables describe what a decoder gets, so it is decoded here.
    """
    import DracoPy

    position, normal, uv = (attributes[word].astype(float) for word in ("POSITION", "NORMAL", "TEXCOORD_0"))
    tangent = attributes.get("TANGENT")
    content = DracoPy.encode(
        position,
        faces.astype(np.uint32),
        tex_coord=uv,
        normals=normal,
        generic_attributes=None if tangent is None else {0: tangent.astype(np.float32)},
        compression_level=DRACO_LEVEL,
        quantization_bits=DRACO_POSITION,
        tex_coord_quantization_bits=DRACO_UV,
        normal_quantization_bits=DRACO_NORMAL,
    )
    decoded = DracoPy.decode(content)
    kinds = {DracoPy.AttributeType.POSITION: "POSITION", DracoPy.AttributeType.NORMAL: "NORMAL"}
    kinds |= {DracoPy.AttributeType.TEX_COORD: "TEXCOORD_0", DracoPy.AttributeType.GENERIC: "TANGENT"}
    stored = {kinds[each["attribute_type"]]: each for each in decoded.attributes}
    numbers = {word: data.described(**_facts(word, stored[word]["data"])) for word in attributes}
    ids = {word: int(stored[word]["unique_id"]) for word in attributes}
    return {
        "attributes": numbers,
        "indices": data.described(**_facts("", decoded.faces.reshape(-1))),
        "extensions": {DRACO: {"bufferView": data.view(content), "attributes": ids}},
    }


def _facts(word: str, values: np.ndarray) -> dict[str, Any]:
    """What an accessor says of an attribute [V, C], or of indices [N]."""
    kind = "SCALAR" if values.ndim == 1 else f"VEC{values.shape[1]}"
    facts: dict[str, Any] = {"componentType": UNSIGNED_INT if values.ndim == 1 else FLOAT}
    facts |= {"count": len(values), "type": kind}
    if word == "POSITION":
        ends = values.astype(np.float32)
        facts |= {"min": ends.min(axis=0).tolist(), "max": ends.max(axis=0).tolist()}
    return facts


def write_obj(path: Path, mesh: FinishedMesh, texture: str, normal_map: str | None, name: str) -> None:
    """Write one textured object as ``.obj``, y up, and its material as ``.mtl`` beside it.

    ``texture`` and ``normal_map`` are names of PNG files in the same folder; ``name`` is that of the object and of its
    material.
    """
    material = Path(path).with_suffix(".mtl")
    write_whole(Path(path), obj_text(mesh, material.name, name))
    write_whole(material, mtl_text(texture, normal_map, name))


def obj_text(mesh: FinishedMesh, library: str, name: str, material: str = "") -> str:
    """The content of an ``.obj``, y up. ``library`` is the name of its ``.mtl`` in the same folder, and ``material``
    that of the material in it, if it is not that of the object."""
    normals = vertex_normals(mesh.vertices, mesh.faces)
    uvs, uv_numbers = np.unique(mesh.uvs.reshape(-1, 2), axis=0, return_inverse=True)
    corners = mesh.faces + 1
    triple = np.stack([corners, uv_numbers.reshape(-1, 3) + 1, corners], axis=2)  # [F, 3, 3]
    one, other = triple[0 : 2 * mesh.counts.get("quads", 0) : 2], triple[1 : 2 * mesh.counts.get("quads", 0) : 2]
    whole = (one[:, [0, 2]] == other[:, [0, 1]]).all(axis=(1, 2))  # no seam between the halves
    quads = np.concatenate([one[whole], other[whole, 2:]], axis=1)
    rest = np.ones(len(triple), bool)
    rest[: 2 * len(one)] = ~np.repeat(whole, 2)
    lines = [f"mtllib {library}", f"o {name}"]
    for word, rows in (("v", _y_up(mesh.vertices)), ("vt", uvs), ("vn", _y_up(normals))):
        lines += [f"{word} " + " ".join(f"{value:.6g}" for value in row) for row in rows.tolist()]
    lines.append(f"usemtl {material or name}")
    for faces in (quads, triple[rest]):
        lines += ["f " + " ".join("{}/{}/{}".format(*corner) for corner in row) for row in faces.tolist()]
    return "\n".join(lines) + "\n"


def hulls_obj_text(hulls: Sequence[Hull], name: str) -> str:
    """The content of an ``.obj``, y up, of the convex hulls of the object ``name``, each an object of its own."""
    lines, before = [], 1
    for number, hull in enumerate(hulls, 1):
        lines.append(f"o {hull_name(name, number)}")
        lines += ["v " + " ".join(f"{value:.6g}" for value in row) for row in _y_up(hull.vertices).tolist()]
        lines += ["f {} {} {}".format(*row) for row in (hull.faces + before).tolist()]
        before += len(hull.vertices)
    return "\n".join(lines) + "\n"


def mtl_text(
    texture: str,
    normal_map: str | None,
    name: str,
    packed_name: str | None = None,
    metallic: str | None = None,
    *,
    see_through: bool = False,
) -> str:
    """The content of an ``.mtl``. Readers without ``Pr`` take the roughness from ``Ns`` = 1000 (1 - roughness)^2.

    ``packed_name`` is the file of an image as ``packed`` makes it, whose green replaces the roughness. ``metallic`` is
    that of the metalness alone: readers that do not know channels, such as Blender's, would take all of the other for
    it. If it is ``see_through``, the texture has alpha.
    """
    words = [f"newmtl {name}", "Ka 1 1 1", "Kd 1 1 1", "Ks 0.5 0.5 0.5", f"Ns {1000 * (1 - ROUGHNESS) ** 2:.6g}"]
    words += ["Ni 1.5", "d 1", "illum 2", f"Pr {ROUGHNESS:.6g}", f"Pm {0 if metallic is None else 1}"]
    words.append(f"map_Kd {texture}")
    if normal_map is not None:  # "norm" is the PBR extension's name of a tangent-space map
        words += ["# tangent space, green up (as OpenGL and glTF have it)", f"norm {normal_map}"]
    if see_through:
        words.append(f"map_d -imfchan m {texture}")
    if packed_name is not None:
        words.append(f"map_Pr -imfchan g {packed_name}")
    if metallic is not None:  # many readers multiply it by ``Pm``
        words.append(f"map_Pm {metallic}")
    return "\n".join(words) + "\n"


def write_ply(path: Path, mesh: Mesh) -> None:
    """Write a mesh with its vertex colours, if it has any, as binary ``.ply``, z up."""
    columns = [("x", "<f4"), ("y", "<f4"), ("z", "<f4")]
    columns += [] if mesh.colors is None else [("red", "u1"), ("green", "u1"), ("blue", "u1")]
    table = np.empty(len(mesh.vertices), dtype=columns)
    for axis, word in enumerate("xyz"):
        table[word] = mesh.vertices[:, axis]
    if mesh.colors is not None:
        for axis, word in enumerate(("red", "green", "blue")):
            table[word] = np.rint(np.clip(mesh.colors[:, axis], 0, 1) * 255)
    faces = np.empty(len(mesh.faces), dtype=[("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, mesh.faces
    names = {"<f4": "float", "u1": "uchar"}
    words = ["ply", "format binary_little_endian 1.0", f"element vertex {len(table)}"]
    words += [f"property {names[kind]} {word}" for word, kind in columns]
    words += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header"]
    write_whole(path, "\n".join([*words, ""]).encode() + table.tobytes() + faces.tobytes())


def write_gaussians(path: Path, gaussians: Gaussians, factor: float = 1.0, shift: Sequence[float] = (0, 0, 0)) -> None:
    """Write Gaussians as ``.ply`` in the usual form of 3-D Gaussian splatting (Kerbl et al. 2023), z up.

    They are scaled by ``factor``, then moved by ``shift`` [3].

    It has centres, colours of degree 0 (as coefficients of spherical harmonics), opacities before the sigmoid,
    logarithms of the sizes, and unit quaternions (w, x, y, z); normals are zero.
    """
    opacity = gaussians.opacity.float().clamp(1e-6, 1 - 1e-6)
    xyz = gaussians.xyz * factor + gaussians.xyz.new_tensor(shift)
    values = [xyz, xyz * 0, gaussians.raw_features_dc.flatten(1)]
    values += [opacity.logit(), (gaussians.scaling * factor).log(), gaussians.rotation]
    table = np.concatenate([value.float().cpu().numpy() for value in values], axis=1)
    names = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"]
    names += [f"scale_{axis}" for axis in range(3)] + [f"rot_{axis}" for axis in range(4)]
    words = ["ply", "format binary_little_endian 1.0", f"element vertex {len(table)}"]
    words += [*(f"property float {word}" for word in names), "end_header", ""]
    write_whole(path, "\n".join(words).encode() + table.astype("<f4").tobytes())


@dataclass(frozen=True)
class SplitMesh:
    """A mesh whose vertices have one UV and one tangent each."""

    vertices: np.ndarray  # [V, 3] float32
    normals: np.ndarray  # [V, 3] float32: smooth across seams
    uvs: np.ndarray  # [V, 2] float32
    tangents: np.ndarray  # [V, 3] float32
    signs: np.ndarray  # [V] float32: signs of the bitangents
    faces: np.ndarray  # [F, 3] int64


def split_seams(mesh: FinishedMesh) -> SplitMesh:
    """Split vertices so that there is one for each combination of vertex, UV and handedness."""
    frame = tangent_space(mesh.vertices, mesh.faces, mesh.uvs)
    corner = mesh.faces.reshape(-1)
    uvs = mesh.uvs.reshape(-1, 2).astype(np.float32) + np.float32(0)  # no negative zeros
    signs = np.repeat(frame.signs, 3)
    first, kind = unique_rows(np.column_stack([corner, uvs.view(np.int32), signs.astype(np.int64)]))
    return SplitMesh(
        mesh.vertices[corner[first]],
        frame.normals.reshape(-1, 3)[first],
        uvs[first],
        frame.tangents.reshape(-1, 3)[first],
        signs[first],
        kind.reshape(-1, 3),
    )


def _y_up(vectors: np.ndarray) -> np.ndarray:
    return np.stack([vectors[:, 0], vectors[:, 2], -vectors[:, 1]], axis=1)


class _Buffer:
    """The binary part of a file and the tables that describe it."""

    def __init__(self) -> None:
        self.bytes = bytearray()
        self.views: list[dict[str, int]] = []
        self.accessors: list[dict[str, Any]] = []

    def view(self, data: bytes, **more: int) -> int:
        """Append bytes, aligned to 4 bytes, and return the index of their view."""
        self.bytes.extend(bytes(-len(self.bytes) % 4))
        self.views.append({"buffer": 0, "byteOffset": len(self.bytes), "byteLength": len(data), **more})
        self.bytes.extend(data)
        return len(self.views) - 1

    def accessor(self, values: np.ndarray, target: int, **facts: Any) -> int:
        """Append an array, as float32 or, if it holds indices, as uint32. Returns the index of its accessor."""
        dtype = "<u4" if target == ELEMENT_ARRAY_BUFFER else "<f4"
        view = self.view(np.ascontiguousarray(values, dtype=dtype).tobytes(), target=target)
        return self.described(bufferView=view, **facts)

    def described(self, **facts: Any) -> int:
        """Add an accessor, and return its index. It has no view if its values are compressed."""
        self.accessors.append(facts)
        return len(self.accessors) - 1


def _chunk(kind: bytes, data: bytes, padding: bytes) -> bytes:
    data += padding * (-len(data) % 4)
    return struct.pack("<I4s", len(data), kind) + data

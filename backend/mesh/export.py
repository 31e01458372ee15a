"""Write a finished asset as binary glTF 2.0."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

ROUGHNESS = 0.8
# Codes of the glTF 2.0 specification.
FLOAT, UNSIGNED_INT = 5126, 5125
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
LINEAR, LINEAR_MIPMAP_LINEAR, REPEAT = 9729, 9987, 10497


def write_glb(path: Path, vertices: np.ndarray, faces: np.ndarray, uvs: np.ndarray, texture: bytes, name: str) -> None:
    """Write one textured object as ``.glb``. The same input gives the same bytes.

    Args:
        path: file to write; what is there is replaced.
        vertices: [V, 3], z up; written y up, (x, y, z) -> (x, z, -y).
        faces: [F, 3] indices into the vertices, outward.
        uvs: [F, 3, 2] at face corners, v up; written v down as glTF has it.
        texture: an sRGB PNG, embedded as base colour.
        name: of the node, mesh and material.
    """
    position, normal, uv, indices = _split_seams(vertices, faces, uvs)
    position, normal = (np.stack([a[:, 0], a[:, 2], -a[:, 1]], axis=1) for a in (position, normal))
    uv = np.stack([uv[:, 0], 1.0 - uv[:, 1]], axis=1)
    data = _Buffer()
    bounds = {"min": position.min(axis=0).tolist(), "max": position.max(axis=0).tolist()}
    primitive = {
        "attributes": {
            "POSITION": data.accessor(position, "VEC3", ARRAY_BUFFER, **bounds),
            "NORMAL": data.accessor(normal, "VEC3", ARRAY_BUFFER),
            "TEXCOORD_0": data.accessor(uv, "VEC2", ARRAY_BUFFER),
        },
        "indices": data.accessor(indices, "SCALAR", ELEMENT_ARRAY_BUFFER),
        "material": 0,
    }
    surface = {"baseColorTexture": {"index": 0}, "metallicFactor": 0.0, "roughnessFactor": ROUGHNESS}
    document = {
        "asset": {"version": "2.0", "generator": "Espalier"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": name}],
        "meshes": [{"name": name, "primitives": [primitive]}],
        "materials": [{"name": name, "pbrMetallicRoughness": surface}],
        "textures": [{"sampler": 0, "source": 0}],
        "samplers": [{"magFilter": LINEAR, "minFilter": LINEAR_MIPMAP_LINEAR, "wrapS": REPEAT, "wrapT": REPEAT}],
        "images": [{"bufferView": data.view(texture), "mimeType": "image/png"}],
        "accessors": data.accessors,
        "bufferViews": data.views,
        "buffers": [{"byteLength": len(data.bytes)}],
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    body = _chunk(b"JSON", text, b" ") + _chunk(b"BIN\0", bytes(data.bytes), b"\0")
    Path(path).write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body)


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """[V, 3] float32 unit normals: the faces' normals weighted by area; +z where a vertex has none."""
    a, b, c = vertices[faces].astype(np.float64).swapaxes(0, 1)
    normals = np.zeros((len(vertices), 3))
    for corner in range(3):
        np.add.at(normals, faces[:, corner], np.cross(b - a, c - a))
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(lengths > 0, normals / np.where(lengths > 0, lengths, 1.0), [0.0, 0.0, 1.0]).astype(np.float32)


def _split_seams(
    vertices: np.ndarray, faces: np.ndarray, uvs: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """One vertex for each pair of vertex and UV: positions, normals (smooth over seams), UVs, and the flat indices."""
    corner_uvs = uvs.reshape(-1, 2).astype(np.float32)
    key = np.column_stack([faces.reshape(-1), corner_uvs.view(np.uint32)])
    _, first, indices = np.unique(key, axis=0, return_index=True, return_inverse=True)
    source = faces.reshape(-1)[first]
    normals = vertex_normals(vertices, faces)
    return vertices[source], normals[source], corner_uvs[first], indices.reshape(-1)


class _Buffer:
    """The binary part of a file and the tables that describe it."""

    def __init__(self) -> None:
        self.bytes = bytearray()
        self.views: list[dict[str, int]] = []
        self.accessors: list[dict[str, Any]] = []

    def view(self, data: bytes, **more: int) -> int:
        """Append bytes, aligned to 4, and return the index of their view."""
        self.bytes.extend(bytes(-len(self.bytes) % 4))
        self.views.append({"buffer": 0, "byteOffset": len(self.bytes), "byteLength": len(data), **more})
        self.bytes.extend(data)
        return len(self.views) - 1

    def accessor(self, values: np.ndarray, kind: str, target: int, **more: Any) -> int:
        """Append an array as float32, or as uint32 if it holds indices, and return the index of its accessor."""
        component, dtype = (UNSIGNED_INT, "<u4") if target == ELEMENT_ARRAY_BUFFER else (FLOAT, "<f4")
        form = {"componentType": component, "count": len(values), "type": kind, **more}
        view = self.view(np.ascontiguousarray(values, dtype=dtype).tobytes(), target=target)
        self.accessors.append({"bufferView": view, **form})
        return len(self.accessors) - 1


def _chunk(kind: bytes, data: bytes, padding: bytes) -> bytes:
    data += padding * (-len(data) % 4)
    return struct.pack("<I4s", len(data), kind) + data

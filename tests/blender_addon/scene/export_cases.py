"""What the tests of exports share: what a scene holds, what an object is like, and files read again."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import bpy
import numpy as np


def read(path: Path) -> None:
    """Import a file into an empty scene."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    operators: dict[str, Any] = {
        ".glb": lambda: bpy.ops.import_scene.gltf,
        ".obj": lambda: bpy.ops.wm.obj_import,
        ".fbx": lambda: bpy.ops.import_scene.fbx,
        ".usdc": lambda: bpy.ops.wm.usd_import,
        ".usdz": lambda: bpy.ops.wm.usd_import,
        ".stl": lambda: bpy.ops.wm.stl_import,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        operators[path.suffix]()(filepath=str(path))
    bpy.context.view_layer.update()


def state() -> dict[str, Any]:
    """What must not change in a file: every datablock, and of meshes every number."""
    bpy.context.view_layer.update()
    found: dict[str, Any] = {
        name: sorted(
            (each.name, each.session_uid if hasattr(each, "session_uid") else 0) for each in getattr(bpy.data, name)
        )
        for name in ("objects", "meshes", "materials", "images", "node_groups", "collections", "scenes")
    }
    for mesh in bpy.data.meshes:
        for attribute in mesh.attributes:
            first = attribute.data[0] if len(attribute.data) else None
            word = next((one for one in ("vector", "value", "color") if hasattr(first, one)), None)
            if word is not None:
                found[f"{mesh.name} {attribute.name}"] = [
                    tuple(value) if hasattr(value, "__len__") else value
                    for value in (getattr(each, word) for each in attribute.data)
                ]
    for image in bpy.data.images:
        found[f"image {image.name}"] = (
            image.filepath_raw,
            image.is_dirty,
            image.packed_file and bytes(image.packed_file.data),
        )
    for target in bpy.data.objects:
        found[f"object {target.name}"] = (
            [list(row) for row in target.matrix_world],
            target.select_get(),
            dict(target.items()),
            [slot.material and slot.material.name for slot in target.material_slots],
        )
    found["active"] = bpy.context.view_layer.objects.active
    return found


def points(target: bpy.types.Object) -> np.ndarray:
    """The places of the vertices in the scene [V, 3]."""
    bpy.context.view_layer.update()
    return np.array([target.matrix_world @ vertex.co for vertex in target.data.vertices])


def facts(target: bpy.types.Object) -> dict[str, Any]:
    """What must survive a way through a file."""
    mesh, places = target.data, points(target)
    mesh.calc_loop_triangles()
    corners = places[np.array([list(triangle.vertices) for triangle in mesh.loop_triangles])]
    crosses = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    uvs = np.array([each.uv for each in mesh.uv_layers[0].data]) if mesh.uv_layers else np.zeros((0, 2))
    return {
        "faces": len(corners),
        "bounds": np.array([places.min(axis=0), places.max(axis=0)]),
        "area": np.linalg.norm(crosses, axis=1).sum() / 2,
        "volume": (corners[:, 0] * crosses).sum() / 6,
        "uvs": np.sort(uvs.sum(axis=1)),
    }

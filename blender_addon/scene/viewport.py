"""Draws raw coloured meshes over the viewport: of candidates, and of objects that are being finished.

They are drawn by a GPU draw handler and are no datablocks. So they are not part of undo or of the saved file, and their
colours are visible in every shading mode. A daemon thread reads and shades the arrays; the main thread only draws.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import blf
import bpy
import gpu
import numpy as np
from bpy_extras.view3d_utils import location_3d_to_region_2d
from mathutils import Matrix, Vector
from numpy.typing import NDArray

from .mesh_import import stand

LIGHT = np.array((-0.35, -0.65, 0.68), np.float32)  # from the upper left of the front view
AMBIENT = 0.45
LABEL_SIZE, LABEL_GAP = 14.0, 8.0  # of the numbers above candidates, in pixels at Blender's usual resolution
NEARER = 1e-5  # in depth, so that an older object in the same place does not flicker through


@dataclass(eq=False)
class _Overlay:
    scene: int  # session_uid
    location: tuple[float, float, float]  # of the bottom's centre
    size: float  # of the longest side
    label: str = ""
    mesh: tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]] | None = None  # set by the reading thread
    top: float = 0.0  # of the mesh, above the location; set before ``mesh``
    announced: bool = False
    batch: Any = None
    before: _Overlay | None = None  # what is drawn until the mesh has been read


_overlays: dict[str, _Overlay] = {}
_handlers: list[Any] = []


def show(key: str, path: Path, scene: int, location: tuple[float, float, float], size: float, label: str = "") -> None:
    """Draw the mesh of a preview file where its object will stand, until ``hide``. Returns at once.

    ``key`` is a job's id, or another name. What was drawn under that name is drawn until the file has been read. A
    ``label`` is written above the mesh.
    """
    before = _overlays.get(key)
    if before is not None and before.mesh is None:
        before = before.before
    elif before is not None:
        before.before = None
    overlay = _overlays[key] = _Overlay(scene, location, size, label, before=before)
    threading.Thread(target=_read, args=(path, overlay), name="espalier preview", daemon=True).start()
    if not _handlers and not bpy.app.background:
        add = bpy.types.SpaceView3D.draw_handler_add
        _handlers[:] = add(_draw, (), "WINDOW", "POST_VIEW"), add(_draw_labels, (), "WINDOW", "POST_PIXEL")


def rename(key: str, new: str) -> None:
    """Draw a mesh under another name from now on, and without its label. Does nothing if there is none."""
    if (overlay := _overlays.pop(key, None)) is not None:
        overlay.label = ""
        _overlays[new] = overlay


def hide(key: str) -> None:
    """Stop drawing a mesh."""
    _overlays.pop(key, None)
    if not _overlays:
        clear()


def clear() -> None:
    """Stop drawing all meshes."""
    _overlays.clear()
    for handler in _handlers:
        bpy.types.SpaceView3D.draw_handler_remove(handler, "WINDOW")
    _handlers.clear()


def shown(key: str) -> bool:
    """Whether a mesh is drawn, or will be when it has been read."""
    return key in _overlays


def arrived() -> bool:
    """Whether a mesh has been read since the last call. Then the viewports must be redrawn."""
    fresh = [overlay for overlay in _overlays.values() if overlay.mesh is not None and not overlay.announced]
    for overlay in fresh:
        overlay.announced, overlay.before = True, None
    return bool(fresh)


def shade(vertices: NDArray[np.float32], faces: NDArray[np.int32], colors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Light vertex colours [V, 3] with a fixed lamp, so that they show the shape. Returns [V, 4]."""
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    sums = [
        sum(np.bincount(faces[:, corner], normals[:, axis], len(vertices)) for corner in range(3)) for axis in range(3)
    ]
    smooth = np.stack(sums, axis=1)
    smooth /= np.maximum(np.linalg.norm(smooth, axis=1, keepdims=True), 1e-12)
    light = AMBIENT + (1 - AMBIENT) * (0.5 + 0.5 * smooth @ (LIGHT / np.linalg.norm(LIGHT)))
    opaque = np.ones((len(vertices), 1))
    return np.concatenate((np.clip(colors * light[:, None], 0, 1), opaque), axis=1).astype(np.float32)


def _read(path: Path, overlay: _Overlay) -> None:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            vertices, faces, colors = arrays["vertices"], arrays["faces"], arrays["colors"]
    except FileNotFoundError:
        return  # the job has already ended, and its folder is gone
    factor, shift = stand(vertices, overlay.size)
    vertices = np.ascontiguousarray(vertices * factor + shift, np.float32)
    overlay.top = float(vertices[:, 2].max())
    overlay.mesh = (vertices, np.ascontiguousarray(faces, np.int32), shade(vertices, faces, colors))


def _here() -> Iterator[_Overlay]:
    """What is to be drawn in the scene of this viewport: of each name the newest mesh that has been read."""
    for overlay in _overlays.values():
        newest = overlay if overlay.mesh is not None else overlay.before
        if newest is not None and newest.mesh is not None and newest.scene == bpy.context.scene.session_uid:
            yield newest


def _draw() -> None:
    here = list(_here())
    if not here:
        return
    shader = gpu.shader.from_builtin("SMOOTH_COLOR")
    projection = gpu.matrix.get_projection_matrix()
    projection[2] -= NEARER * projection[3]
    gpu.state.depth_test_set("LESS_EQUAL")
    gpu.state.depth_mask_set(True)
    try:
        with gpu.matrix.push_pop_projection():
            gpu.matrix.load_projection_matrix(projection)
            for overlay in here:
                assert overlay.mesh is not None
                overlay.batch = overlay.batch or _batch(*overlay.mesh)
                with gpu.matrix.push_pop():
                    gpu.matrix.multiply_matrix(Matrix.Translation(overlay.location))
                    overlay.batch.draw(shader)
    finally:
        gpu.state.depth_mask_set(False)
        gpu.state.depth_test_set("NONE")


def _draw_labels() -> None:
    context, scale = bpy.context, bpy.context.preferences.system.ui_scale
    font = 0  # Blender's own
    blf.size(font, LABEL_SIZE * scale)
    blf.color(font, 1.0, 1.0, 1.0, 1.0)
    blf.enable(font, blf.SHADOW)
    blf.shadow(font, 5, 0.0, 0.0, 0.0, 1.0)
    for overlay in _here():
        top = Vector(overlay.location) + Vector((0.0, 0.0, overlay.top))
        place = location_3d_to_region_2d(context.region, context.region_data, top) if overlay.label else None
        if place is not None:  # None: behind the viewer
            blf.position(font, place.x - blf.dimensions(font, overlay.label)[0] / 2, place.y + LABEL_GAP * scale, 0.0)
            blf.draw(font, overlay.label)
    blf.disable(font, blf.SHADOW)


def _batch(vertices: NDArray[np.float32], faces: NDArray[np.int32], colors: NDArray[np.float32]) -> Any:
    layout = gpu.types.GPUVertFormat()  # by hand: the shader's format_calc() loses the attributes in Blender 5.2
    layout.attr_add(id="pos", comp_type="F32", len=3, fetch_mode="FLOAT")
    layout.attr_add(id="color", comp_type="F32", len=4, fetch_mode="FLOAT")
    buffer = gpu.types.GPUVertBuf(layout, len(vertices))
    buffer.attr_fill("pos", vertices)
    buffer.attr_fill("color", colors)
    return gpu.types.GPUBatch(type="TRIS", buf=buffer, elem=gpu.types.GPUIndexBuf(type="TRIS", seq=faces))

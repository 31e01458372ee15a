"""Shows guides as wire: a solid one would hide what is made inside it."""

from __future__ import annotations

import bpy
import numpy as np
from mathutils import Matrix, Vector
from numpy.typing import NDArray

from .made import BESIDE

#: How an object is drawn that nothing behind can be seen through.
OPAQUE = ("TEXTURED", "SOLID")


def meshes_of(guide: bpy.types.Object) -> list[bpy.types.Object]:
    """The meshes of a guide, but for what is beside Espalier's own objects, hidden."""
    return [each for each in (guide, *guide.children_recursive) if each.type == "MESH" and BESIDE not in each]


def show_as_wire(uid: int, scene: bpy.types.Scene, made: bpy.types.Object | None = None) -> str:
    """Show the guide with this session uid as wire where it hides something. Returns its name; empty if it does not.

    It hides nothing if it is gone or cannot be seen in the scene, nor if ``made``, a new object, stands beside it.
    """
    guide = next((each for each in scene.objects if each.session_uid == uid), None) if uid else None
    if guide is None:
        return ""
    hiding = [each for each in meshes_of(guide) if _is_opaque(each, scene)]
    if made is not None and not any(_meets(each, made) for each in hiding):
        return ""
    for each in hiding:
        each.display_type = "WIRE"
    return guide.name if hiding else ""


def _is_opaque(mesh: bpy.types.Object, scene: bpy.types.Scene) -> bool:
    can_change = mesh.library is None and mesh.display_type in OPAQUE
    return can_change and any(mesh.visible_get(view_layer=layer) for layer in scene.view_layers)


def _meets(mesh: bpy.types.Object, made: bpy.types.Object) -> bool:
    """Whether a mesh's box and that of a new object have a volume in common."""
    low, high = _box(mesh, mesh.matrix_world)
    new_low, new_high = _box(made, Matrix.Translation(made.location))  # ``matrix_world`` is not updated yet
    return bool((np.maximum(low, new_low) < np.minimum(high, new_high)).all())


def _box(mesh: bpy.types.Object, matrix: Matrix) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The lowest and the highest corner of a mesh's box, along the world's axes."""
    corners = np.array([matrix @ Vector(corner) for corner in mesh.bound_box])
    return corners.min(axis=0), corners.max(axis=0)

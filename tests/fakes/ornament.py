"""A hand-made object whose materials differ from place to place, as no random model makes one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import trimesh

from backend import protocol
from backend.generated import Generated
from backend.mesh import MaterialMesh
from backend.mesh.finish import finish
from backend.protocol import Settings
from backend.serving.outputs import Place, check_print, write_asset

#: Where the parts of the ball begin, from its middle, and the colours of its halves.
BAND, CAP, OPEN = 0.1, 0.22, 0.4
COPPER, BLUE = (0.95, 0.6, 0.45), (0.15, 0.3, 0.75)


def ornament(is_open: bool = False) -> MaterialMesh:
    """A ball of radius 0.5. Its right half is copper, rough but for a polished band around the middle; its left half is
    blue plastic, polished there as well. Of its cap little is opaque. If it ``is_open``, its top is cut off."""
    ball = trimesh.creation.icosphere(5, 0.5)
    points, faces = ball.vertices.astype(np.float32), ball.faces
    if is_open:
        faces = faces[(points[faces][..., 2] < OPEN).all(axis=1)]
    x, _, z = points.T
    colors = np.where(x[:, None] > 0, COPPER, BLUE)
    materials = np.stack([x > 0, np.where(np.abs(z) < BAND, 0.05, 0.6), np.where(z > CAP, 0.25, 1.0)], axis=1)
    values = (points, colors.astype(np.float32), materials.astype(np.float32))
    vertices, color, material = map(torch.from_numpy, values)
    return MaterialMesh(vertices, torch.from_numpy(np.ascontiguousarray(faces)), color, material, resolution=32)


def finished_ornament(raw: MaterialMesh, folder: Path, settings: Settings) -> protocol.Result:
    """The result of a job that made an object, with its files in a folder."""
    mesh = finish(raw, faces=settings.faces, texture_size=settings.texture_size, normal_map=settings.normal_map)
    generated = Generated(mesh, raw, None, timings={}, counts=mesh.counts)
    printed = check_print(generated, settings, lambda: None)
    files = write_asset(Place.find(folder, "ornament", []), generated, settings, durable=False, printed=printed)
    return protocol.Result(
        "ornament",
        str(files["arrays"]),
        str(files["texture"]),
        str(files["glb"]),
        counts=mesh.counts,
        normal_map=str(files.get("normal_map", "")),
        occlusion=str(files["occlusion"]),
        materials=mesh.metallic is not None,
        see_through=mesh.see_through,
    )

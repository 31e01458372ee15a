"""The stages that TRELLIS.2 has instead of TRELLIS's: a dual grid for the shape, and materials on its voxels.

As in ``stages``, each is a function of plain tensors that knows nothing about the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from .errors import GenerationError
from .mesh import MaterialMesh
from .mesh.extract.corners import finite
from .mesh.extract.dual_grid import positions, quads_of, sample_at_vertices, split_by_weight
from .models.dual_grid_vae import DualGridDecoder
from .models.sparse_unet import SparseUnetDecoder
from .sparse.tensor import SparseTensor
from .stages import RETRY


class DualSurface(NamedTuple):
    """The surface of one object. Its faces may look either way, and some vertices may belong to none."""

    vertices: Tensor  # [V, 3] in the cube [-0.5, 0.5]^3, z up: one for each voxel
    faces: Tensor  # [F, 3] int64


def surfaces(decoder: DualGridDecoder, features: SparseTensor, resolution: int) -> list[DualSurface]:
    """The surface of each batch item, from what the shape decoder predicts on a grid of this resolution, [M, 7]."""
    grid = decoder.dual_grid(features.feats)
    vertices = positions(features.coords[:, 1:], grid.vertices, resolution)
    faces = split_by_weight(quads_of(features.voxels.neighbours, grid.crossed), grid.weights)
    found = []
    for rows in features.layout:
        own = faces[(faces[:, 0] >= rows.start) & (faces[:, 0] < rows.stop)]
        found.append(DualSurface(vertices[rows], own - rows.start))
    return found


def decode_materials(decoder: SparseUnetDecoder, latents: SparseTensor, masks: Sequence[Tensor]) -> Tensor:
    """The materials [M, 6] of the voxels of a shape, whose ``masks`` say how it was split, from latents [N, C]."""
    return materials(decoder(latents, masks).features.feats)


def materials(features: Tensor) -> Tensor:
    """Base colour (sRGB), metallic, roughness and alpha [M, 6] from what the texture decoder predicts.

    They are meant to be in 0..1, but not clamped: what is sampled between voxels is.
    """
    return 0.5 * features + 0.5


def material_mesh(decoder: DualGridDecoder, shape: SparseTensor, attributes: Tensor, resolution: int) -> MaterialMesh:
    """The surface of one object with the materials [M, 6] of its voxels at its vertices.

    Raises GenerationError if it has no face, or if what was decoded is not finite.
    """
    empty = GenerationError("mesh_empty", "The object that the model made has no surface.", RETRY)
    if not len(shape.feats):
        raise empty
    if not (finite(shape.feats) & finite(attributes)):
        message = "No mesh could be made of what the model predicted: a value is not finite (NaN or infinity)."
        raise GenerationError("bad_features", message, RETRY)
    ((vertices, faces),) = surfaces(decoder, shape, resolution)
    if not len(faces):
        raise empty
    found = materials_at_vertices(decoder, shape, attributes)
    return MaterialMesh(vertices, faces, found[:, :3].contiguous(), found[:, 3:].contiguous(), resolution)


def materials_at_vertices(decoder: DualGridDecoder, shape: SparseTensor, attributes: Tensor) -> Tensor:
    """The materials [V, 6] at the vertices of a shape, from those of its voxels [M, 6], in the same order."""
    grid = decoder.dual_grid(shape.feats)
    return sample_at_vertices(grid.vertices, shape.voxels.neighbours, attributes)

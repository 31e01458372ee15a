"""Leaks of hollow things are closed by a skin, in voxels and in the decoded field; openings and solid things stay."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from backend.mesh import RawMesh
from backend.mesh.base.flood import flood, leaks
from backend.mesh.base.topology import open_edges
from backend.mesh.clean.cleanup import keep_outer_faces
from backend.mesh.extract.corners import COLOR
from backend.mesh.extract.flexicubes import extract_mesh
from backend.mesh.extract.seal import CUBE_RADII, VOXEL_CORE, VOXEL_RADII, seal_cubes, seal_voxels
from tests.backend.shells import PARENT, features_of, grid, sphere

SIDE = 16


def box(low: int, high: int) -> np.ndarray:
    """The shell of a cube of voxels, hollow."""
    solid = np.zeros((SIDE,) * 3, dtype=bool)
    solid[(slice(low, high),) * 3] = True
    solid[(slice(low + 1, high - 1),) * 3] = False
    return solid


def sealed(solid: np.ndarray) -> np.ndarray:
    coords = torch.from_numpy(np.argwhere(solid)).int()
    found = seal_voxels(torch.nn.functional.pad(coords, (1, 0)), SIDE)
    assert found.dtype == torch.int32
    assert found.shape[1] == 4
    assert not found[:, 0].any()
    grid = np.zeros_like(solid)
    grid[tuple(found[:, 1:].numpy().T)] = True
    assert grid.sum() == len(found)  # each once
    return grid


@pytest.mark.parametrize("hole", [(1, 1), (2, 2), (1, 5), (2, 4)])
def test_a_wall_with_missing_voxels_is_whole_again(hole: tuple[int, int]) -> None:
    whole = box(3, 13)
    broken = whole.copy()
    broken[6 : 6 + hole[0], 5 : 5 + hole[1], 12] = False
    made = sealed(broken)
    assert not (broken & ~made).any()
    assert not (made & ~ndimage.binary_fill_holes(whole)).any()
    assert np.array_equal(ndimage.binary_fill_holes(made) | whole, ndimage.binary_fill_holes(whole))


def test_openings_and_solid_things_stay() -> None:
    mug = box(3, 13)
    mug[4:12, 4:12, 12] = False
    table = np.zeros_like(mug)
    table[2:14, 2:14, 11] = True
    table[2:4, 2:4, 2:11] = table[12:14, 2:4, 2:11] = table[2:4, 12:14, 2:11] = table[12:14, 12:14, 2:11] = True
    solid = ndimage.binary_fill_holes(box(3, 13))
    for thing in (mug, table, solid, box(3, 13), np.zeros_like(mug)):
        assert np.array_equal(sealed(thing), thing)


@pytest.mark.parametrize("dent", [0, 2])
@pytest.mark.parametrize("seed", range(4))
def test_a_skin_is_what_separates_outside_from_inside(seed: int, dent: int) -> None:
    """Beside the plain definition: cells that are neither solid nor outside and touch one that is."""
    solid = np.pad(box(2, 14) & (np.random.default_rng(seed).random((SIDE,) * 3) < 0.93), 5)
    outside = flood(~solid, VOXEL_RADII, VOXEL_CORE)
    touching = ndimage.binary_dilation(outside, np.ones((3, 3, 3)))
    plain = touching & ~solid & ~outside
    assert plain.any()
    if dent:
        cube = np.ones((2 * dent + 1,) * 3)
        plain |= ndimage.binary_closing(solid | plain, cube) & outside & ndimage.binary_dilation(plain, cube)
    skin = leaks(solid, VOXEL_RADII, VOXEL_CORE, dent)
    assert np.array_equal(skin, plain)
    # A plain flood, through edges and corners, too, gets no farther than the one that knows leaks.
    labels, _ = ndimage.label(~(solid | skin), np.ones((3, 3, 3)))
    assert np.array_equal(labels == labels[0, 0, 0], outside & ~skin)


def drilled(width: int) -> tuple[Tensor, Tensor]:
    """What a decoder gives for a hollow ball, at 32^3, without the cubes of a square hole in its top, so many wide."""
    coords, features = features_of(lambda p: sphere(p).abs() - 0.03, 32)
    low = 16 - width // 2
    hole = ((coords[:, :2] >= low) & (coords[:, :2] < low + width)).all(1) & (coords[:, 2] > 16)
    return coords[~hole], features[~hole]


def outer(raw: RawMesh) -> np.ndarray:
    """Vertices of what can be seen from outside."""
    return keep_outer_faces(raw.numpy()).vertices


@pytest.mark.parametrize("width", [1, 3, 6])
def test_a_decoded_shell_is_closed(width: int) -> None:
    coords, features = drilled(width)
    kept = features.clone()
    sealed_coords, sealed_features = seal_cubes(coords, features, 32)
    assert torch.equal(features, kept)
    assert torch.equal(sealed_coords[: len(coords)], coords)
    mesh = keep_outer_faces(extract_mesh(sealed_coords, sealed_features, 32).numpy())
    assert not len(open_edges(mesh.faces)[0])
    assert np.linalg.norm(mesh.vertices, axis=1).min() > 0.35 - 1 / 32  # nothing of the inner side, no dent
    assert np.linalg.norm(mesh.vertices, axis=1).max() < 0.38 + 1 / 32
    assert mesh.colors is not None
    assert np.isfinite(mesh.colors).all()


def test_a_closed_shell_and_a_wide_opening_come_back_as_they_are() -> None:
    for width in (0, 2 * max(CUBE_RADII) + 4):
        coords, features = drilled(width)
        for one, other in zip(seal_cubes(coords, features, 32), (coords, features), strict=True):
            assert one is other


def test_colours_are_those_beside_the_hole_and_need_not_be_there() -> None:
    coords, features = drilled(6)
    features[:, COLOR] = 0.0
    features[:, COLOR].unflatten(1, (8, 6))[..., 0] = 4.0
    raw = extract_mesh(*seal_cubes(coords, features, 32), 32)
    assert raw.colors is not None
    torch.testing.assert_close(raw.colors, torch.tensor([4.0, 0.0, 0.0]).sigmoid().expand_as(raw.colors))
    colorless = extract_mesh(*seal_cubes(coords, features[:, :53], 32), 32)
    assert torch.equal(colorless.vertices, raw.vertices)


def test_a_hole_whose_cubes_are_all_given_is_closed() -> None:
    """The skin then needs no further cubes. (A job failed here once.)"""

    def bored(points: Tensor) -> Tensor:
        hole = torch.maximum(points[..., :2].abs().amax(-1) - 0.05, -points[..., 2])
        return torch.maximum(sphere(points).abs() - 0.03, -hole)

    coords, features = features_of(bored, 32)
    sealed_coords, sealed_features = seal_cubes(coords, features, 32)
    assert sealed_coords is not coords
    assert len(sealed_coords) == len(coords)
    mesh = keep_outer_faces(extract_mesh(sealed_coords, sealed_features, 32).numpy())
    assert not len(open_edges(mesh.faces)[0])
    assert np.linalg.norm(mesh.vertices, axis=1).min() > 0.35 - 1 / 32


def test_what_cannot_be_extracted_comes_back() -> None:
    coords, features = grid(PARENT), torch.full((PARENT**3, COLOR.stop), torch.nan)
    assert seal_cubes(coords, features, 8)[1] is features
    nothing = torch.zeros(0, 3, dtype=torch.int32), torch.zeros(0, COLOR.stop)
    assert seal_cubes(*nothing, 8)[0] is nothing[0]

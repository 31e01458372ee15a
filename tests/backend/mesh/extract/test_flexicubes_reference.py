"""The sparse extractor against the dense statement of it, and that against the reference implementation's figures."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from backend.mesh import RawMesh
from backend.mesh.extract import reference
from backend.mesh.extract.corners import COLOR, GAMMA, SDF
from backend.mesh.extract.flexicubes import extract_mesh
from backend.mesh.extract.reference import same_mesh
from tests.backend.golden import load_case
from tests.backend.shells import chair, features_of, grid


def random_case(res: int, share: float, columns: int, seed: int) -> tuple[Tensor, Tensor]:
    """A share of the voxels of a grid, in random order, with random features: every case, at the border too."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(res**3, generator=generator)[: round(share * res**3)]
    return grid(res)[chosen].int(), torch.randn(len(chosen), columns, generator=generator)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("columns", [GAMMA.stop, COLOR.stop], ids=["plain", "coloured"])
@pytest.mark.parametrize(("res", "share"), [(8, 1.0), (8, 0.1), (13, 0.5), (16, 0.02), (24, 0.7), (32, 0.3)])
def test_random_features_give_the_mesh_of_the_dense_method(res: int, share: float, columns: int, device: str) -> None:
    coords, features = (x.to(device) for x in random_case(res, share, columns, seed=res))
    sparse, dense = extract_mesh(coords, features, res), reference.extract_mesh(coords, features, res)
    assert len(sparse.faces) > 100
    assert same_mesh(sparse, dense)


@pytest.mark.parametrize("res", [16, 32])
def test_a_shell_of_voxels_gives_the_mesh_of_the_dense_method(res: int) -> None:
    """Smooth distances, a wall on either side of the shell where inactive cubes close it, diagonals chosen by ties."""
    coords, features = features_of(chair, res)
    sparse, dense = extract_mesh(coords, features, res), reference.extract_mesh(coords, features, res)
    assert len(sparse.faces) > 1000
    assert same_mesh(sparse, dense)


def test_objects_that_touch_the_border_stay_open_there() -> None:
    res = 8
    coords = grid(res)
    features = torch.zeros(len(coords), GAMMA.stop)
    features[:, SDF] = -1.0
    assert (
        len(extract_mesh(coords, features, res).faces) == len(reference.extract_mesh(coords, features, res).faces) == 0
    )


@pytest.mark.parametrize("name", ["b_noise_ambiguous", "c_empty", "d_halfspace_boundary"])
def test_the_dense_method_has_the_faces_of_the_reference_implementation(name: str) -> None:
    case = load_case("features2mesh", name)
    coords, features, res = case.inputs["coords"][:, 1:], case.inputs["feats"], case.config["params"]["res"]
    dense = reference.extract_mesh(coords, features, res)
    sparse = extract_mesh(coords, features, res)  # has the stored faces in the stored order: another test
    assert torch.equal(sparse.faces, case.outputs["faces"])
    assert same_mesh(dense, sparse)
    assert same_mesh(dense, replace(sparse, vertices=case.outputs["vertices"].view(-1, 3)))


def other_diagonal(mesh: RawMesh) -> RawMesh:
    (a, b, c), (_, _, d) = mesh.faces[0].tolist(), mesh.faces[1].tolist()
    faces = mesh.faces.clone()
    faces[:2] = torch.tensor([[a, b, d], [d, b, c]])
    return replace(mesh, faces=faces)


def test_a_mesh_that_differs_is_not_the_same() -> None:
    mesh = extract_mesh(*random_case(8, 0.3, COLOR.stop, seed=1), 8)
    turned = replace(mesh, faces=mesh.faces.flip(0).roll(1, dims=1), face_corners=mesh.face_corners.flip(0))
    assert same_mesh(mesh, turned)
    assert not same_mesh(mesh, replace(mesh, faces=mesh.faces.flip(1)))
    assert not same_mesh(mesh, replace(mesh, vertices=mesh.vertices + 1e-5))
    assert not same_mesh(mesh, replace(mesh, attrs=None))
    assert not same_mesh(mesh, replace(mesh, faces=mesh.faces[1:], face_corners=mesh.face_corners[1:]))
    assert not same_mesh(mesh, other_diagonal(mesh))


def test_memory_does_not_grow_with_the_grid() -> None:
    """The same voxels in a grid of 10^12 cubes: an allocation for each cube could not succeed."""
    coords, features = features_of(chair, 16)
    small = extract_mesh(coords, features, 16)
    features[:, SDF] += 1 / 10_000 - 1 / 16  # the extractor takes 1 / res off
    large = extract_mesh(coords + 5_000, features, 10_000)
    assert torch.equal(small.faces, large.faces)

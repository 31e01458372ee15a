from __future__ import annotations

import pytest
import torch
from torch import Tensor

from backend.mesh import MeshError, RawMesh
from backend.mesh.extract.case_tables import EDGES, case_tables, cube_faces
from backend.mesh.extract.corners import COLOR, GAMMA, SDF
from backend.mesh.extract.flexicubes import extract_mesh, extract_training_mesh
from tests.backend.golden import assert_close, load_case
from tests.backend.shells import features_of, sphere

CASES = ("b_noise_ambiguous", "c_empty", "d_halfspace_boundary")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("name", CASES)
def test_same_mesh_as_the_reference_in_the_same_order(name: str, device: str) -> None:
    case = load_case("features2mesh", name)
    coords, features = case.inputs["coords"][:, 1:].to(device), case.inputs["feats"].to(device)
    mesh = extract_mesh(coords, features, case.config["params"]["res"])
    assert torch.equal(mesh.faces.cpu(), case.outputs["faces"])
    assert mesh.vertices.shape == case.outputs["vertices"].shape
    if len(mesh.vertices):
        assert_close(mesh.vertices.cpu(), case.outputs["vertices"], 1e-6)
    if len(mesh.vertices) and "vertex_attrs" in case.outputs:
        assert mesh.attrs is not None
        assert_close(mesh.attrs.cpu(), case.outputs["vertex_attrs"], 1e-6)
    assert len(mesh.inside_corners) == (case.outputs["vert_attrs"][:, 0] < 0).sum()


def test_the_order_of_the_voxels_changes_no_bit() -> None:
    case = load_case("features2mesh", "b_noise_ambiguous")
    coords, features, res = case.inputs["coords"][:, 1:], case.inputs["feats"], case.config["params"]["res"]
    shuffled = torch.randperm(len(coords), generator=torch.Generator().manual_seed(0))
    one, other = extract_mesh(coords, features, res), extract_mesh(coords[shuffled], features[shuffled], res)
    assert torch.equal(one.vertices, other.vertices)
    assert torch.equal(one.faces, other.faces)


def test_a_lone_voxel_closes_itself_through_its_inactive_neighbours() -> None:
    features = torch.zeros(1, COLOR.stop)
    features[:, SDF] = -1.0
    mesh = extract_mesh(torch.tensor([[2, 2, 2]]), features, 6)
    assert uses_of_edges(mesh.faces).eq(2).all()
    assert len(mesh.vertices) - len(uses_of_edges(mesh.faces)) + len(mesh.faces) == 2  # Euler: a sphere
    assert signed_volume(mesh) > 0  # outward
    crossing = (1 + 1 / 6) / (2 + 1 / 6)  # of the way from a corner at -1 - 1/6 to one at +1
    assert ((mesh.vertices + 0.5) * 6 - 2.5).abs().amax(0).tolist() == pytest.approx([0.5 + crossing] * 3, abs=1e-5)


def test_noise_gives_edges_with_two_faces_only() -> None:
    """Every sign case occurs, pairs that meet twice at an ambiguous face included."""
    res = 24
    inner = torch.cartesian_prod(*[torch.arange(1, res - 1)] * 3)
    noise = torch.randn(len(inner), 8, generator=torch.Generator().manual_seed(1))
    features = torch.zeros(len(inner), GAMMA.stop)
    features[:, SDF] = noise
    assert uses_of_edges(extract_mesh(inner, features, res).faces).eq(2).all()


def test_faces_look_at_their_outer_corner() -> None:
    res = 32
    mesh = extract_mesh(*features_of(sphere, res), res)
    side = res + 1
    number = mesh.face_corners
    corner = torch.stack([number // side**2, number // side % side, number % side], dim=1) / res - 0.5
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    normal = torch.linalg.cross(b - a, c - a)
    assert (((corner - a) * normal).sum(1) > 0).float().mean() > 0.99
    assert not torch.isin(number, mesh.inside_corners).any()


def test_the_surface_for_training_learns_from_every_kind_of_feature() -> None:
    coords, features = features_of(sphere, 16)
    generator = torch.Generator().manual_seed(0)
    noisy = (features + 0.1 * torch.randn(features.shape, generator=generator)).requires_grad_()
    mesh = extract_training_mesh(coords, noisy, 16)
    plain = extract_mesh(coords, noisy, 16)
    assert torch.equal(mesh.vertices[: len(plain.vertices)], plain.vertices)
    assert len(mesh.faces) == 2 * len(plain.faces)
    assert uses_of_edges(mesh.faces).eq(2).all()
    assert mesh.attrs is not None
    (mesh.reg_loss + mesh.vertices.square().mean() + mesh.attrs.square().mean()).backward()
    assert noisy.grad is not None
    assert noisy.grad.isfinite().all()
    assert noisy.grad.any(0).all()


def test_case_tables() -> None:
    tables = case_tables()
    assert torch.bincount(tables.patches).tolist() == [2, 162, 82, 8, 2]
    assert tables.twist.any(1).sum() == 36
    for case in range(256):
        inside = [bool(case >> i & 1) for i in range(8)]
        for edge, (a, b) in enumerate(EDGES):
            assert (tables.patch[case, edge] >= 0) == (inside[a] != inside[b])
        for patch in range(int(tables.patches[case])):  # its crossings form closed curves: 0, 2 or 4 on a face
            assert all((tables.patch[case, edges] == patch).sum() in (0, 2, 4) for _, _, edges in cube_faces())
        if tables.twist[case].any():  # the opposite case takes the two curves apart
            assert tables.patches[case] == 1
            assert tables.patches[255 - case] == 2


def test_no_voxels_no_mesh() -> None:
    mesh = extract_mesh(torch.zeros(0, 3, dtype=torch.int32), torch.zeros(0, COLOR.stop), 8)
    assert mesh.vertices.shape == mesh.faces.shape == (0, 3)


@pytest.mark.parametrize(
    ("coords", "features", "says"),
    [
        (torch.zeros(2, 4, dtype=torch.int32), torch.zeros(2, 101), "coords must be"),
        (torch.zeros(2, 3), torch.zeros(2, 101), "coords must be"),
        (torch.tensor([[0, 0, 0], [0, 0, 1]]), torch.zeros(2, 100), "features must be"),
        (torch.tensor([[0, 0, 0], [0, 0, 1]]), torch.zeros(3, 101), "features must be"),
        (torch.tensor([[0, 0, 8]]), torch.zeros(1, 101), "outside the grid"),
        (torch.tensor([[0, 0, 1], [0, 0, 1]]), torch.zeros(2, 101), "more than once"),
        (torch.tensor([[0, 0, 1]]), torch.full((1, 101), torch.nan), "not finite"),
        (torch.tensor([[0, 0, 1]]), torch.full((1, 53), torch.inf), "not finite"),
    ],
)
def test_bad_features_are_named(coords: Tensor, features: Tensor, says: str) -> None:
    with pytest.raises(MeshError, match=says) as error:
        extract_mesh(coords, features, 8)
    assert error.value.code == "bad_features"


def uses_of_edges(faces: Tensor) -> Tensor:
    """For each distinct edge the number of faces that have it."""
    edges = faces[:, [0, 1, 1, 2, 2, 0]].view(-1, 2).sort(1).values
    return torch.unique(edges, dim=0, return_counts=True)[1]


def signed_volume(mesh: RawMesh) -> Tensor:
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    return (a * torch.linalg.cross(b, c)).sum() / 6

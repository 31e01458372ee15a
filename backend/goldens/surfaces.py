"""The family of the mesh extractor, and how surfaces are compared."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..mesh.extract.flexicubes import extract_mesh, extract_training_mesh
from ..sparse.tensor import SparseTensor
from .case import GoldenCase
from .compare import Comparison, Value, compare_outputs

Outputs = dict[str, Tensor | Value]

#: If the distances at both ends of an edge are nearly equal, its vertex amplifies their rounding errors. Where the
#: distances come from a network, these shares of all vertices and faces may be off by more than the tolerance.
EXEMPT_VERTICES = 1e-3
EXEMPT_FACES = 6e-3

#: Distances this close to zero, relative to the largest, get their sign from rounding alone. A corner that changes
#: sides changes at most the faces around its six edges.
UNDECIDED = 1e-5
FACES_AT_A_CORNER = 12

#: Normals of slivers are ill-conditioned: they are compared weighted by area, with a larger tolerance than positions.
NORMALS = 1e-4


def features2mesh(case: GoldenCase) -> list[Comparison]:
    """The extractor on its own, given stored features; a training case has further outputs."""
    params, x = case.config["params"], case.voxels
    res = params["res"]
    training = extract_training_mesh(x.coords[:, 1:], x.feats, res)
    distances = training.corner_values[:, 0]
    if params.get("training"):
        outputs = _surface_outputs(training.vertices, training.faces, training.attrs)
    else:
        mesh = extract_mesh(x.coords[:, 1:], x.feats, res)
        outputs = _surface_outputs(mesh.vertices, mesh.faces, mesh.attrs)
    outputs |= {
        "vert_pos": training.corners,
        "vert_attrs": training.corner_values,
        "min_abs_vertex_sdf": Value(distances.abs().min(), scale=float(distances.abs().max())),
        "reg_loss": training.reg_loss,
        "tsdf_v": training.corner_points,
        "tsdf_s": distances,
    }
    return compare_outputs(comparable_surfaces(case.outputs, outputs), outputs)


def mesh_outputs(features: SparseTensor, res: int) -> Outputs:
    """The surface of a mesh decoder's features (a batch of one), in the two forms that cases store."""
    mesh = extract_mesh(features.coords[:, 1:], features.feats, res)
    vertices, faces, attrs = mesh.vertices, mesh.faces, mesh.attrs
    whole = _surface_outputs(vertices, faces, attrs)
    cell = 1 / res  # no vertex leaves its cube
    outputs = whole | {
        "vertices": Value(vertices, exempt=EXEMPT_VERTICES, reach=cell),
        "face_normal": Value(_weighted_normals(vertices, faces), NORMALS, exempt=EXEMPT_FACES, reach=cell**2),
    }
    if attrs is not None:
        outputs["vertex_attrs"] = Value(attrs, exempt=EXEMPT_VERTICES, reach=1.0)
    return outputs | {f"mesh.{name}": value for name, value in _summary(features, outputs, res).items()}


def _surface_outputs(vertices: Tensor, faces: Tensor, attrs: Tensor | None) -> Outputs:
    normals = _weighted_normals(vertices, faces)
    outputs: Outputs = {
        "vertices": vertices,
        "faces": faces,
        "face_normal": Value(normals, NORMALS),
        "success": torch.tensor(len(faces) > 0),
        "area": normals.double().norm(dim=1).sum() / 2,
    }
    return outputs if attrs is None else outputs | {"vertex_attrs": attrs}


def _weighted_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Normals [F, 3] of triangles, each as long as twice the triangle's area."""
    a, b, c = vertices[faces].unbind(1)
    return torch.linalg.cross(b - a, c - a)


def _summary(features: SparseTensor, outputs: Outputs, res: int) -> Outputs:
    """What is stored of a large surface: counts, sums, means, and rows in the order of extraction."""
    vertices, faces = _tensor(outputs["vertices"]), _tensor(outputs["faces"])
    precise = vertices.double()
    distances = extract_training_mesh(features.coords[:, 1:], features.feats, res).corner_values[:, 0]
    undecided = int((distances.abs() < UNDECIDED * distances.abs().max()).sum())
    summary: Outputs = {
        "counts_v_f": Value(torch.tensor([len(vertices), len(faces)]), slack=FACES_AT_A_CORNER * undecided),
        "area": outputs["area"],
        "vertex_mean_std": torch.stack([precise.mean(0), precise.std(0)]),
        "bbox": torch.stack([precise.amin(0), precise.amax(0)]),
        "face_centroid_sum": precise[faces].mean(1).sum(0),
        "face_index_sum": faces.sum(0),
        "vertices_in_order": outputs["vertices"],
        "faces_in_order": faces,
    }
    if "vertex_attrs" in outputs:
        attrs = outputs["vertex_attrs"]
        summary |= {"vertex_attrs_in_order": attrs, "vertex_attrs_mean": _tensor(attrs).double().mean(0)}
    return summary


def _tensor(value: Tensor | Value) -> Tensor:
    return value.tensor if isinstance(value, Value) else value


def comparable_surfaces(expected: Mapping[str, Tensor], actual: Outputs) -> dict[str, Tensor]:
    """The expected outputs in the form of ours, without those that cannot be compared.

    Normals become as long as twice their triangle's area. Sorted vertices are left out, since their order depends on
    how the sort breaks ties. If rounding of distances near zero gave a large surface a few faces more or fewer, which
    the comparison of the counts judges, later rows have other numbers and are left out.
    """
    shifted = "mesh.counts_v_f" in expected and not torch.equal(
        expected["mesh.counts_v_f"], _tensor(actual["mesh.counts_v_f"])
    )
    comparable = {}
    for name, tensor in expected.items():
        if "sorted_vertices" in name or (shifted and ("_in_order" in name or "index_sum" in name)):
            continue
        comparable[name] = tensor
        if name.endswith("face_normal"):
            prefix = name.removesuffix("face_normal")
            weighted = _weighted_normals(expected[f"{prefix}vertices"], expected[f"{prefix}faces"])
            comparable[name] = tensor * weighted.norm(dim=1, keepdim=True)
    return comparable

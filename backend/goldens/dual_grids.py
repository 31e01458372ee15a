"""Families of TRELLIS.2's surfaces: the dual grid, attributes between voxels, and the voxels of a finer sample."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..cascade import refined
from ..mesh.extract.dual_grid import fans, positions, quads_of, sample, split_by_weight, split_without_weights
from ..models.sparse_unet import Decoded
from ..sparse.tensor import VoxelSet
from .case import GoldenCase
from .compare import Comparison, Value, compare_outputs
from .surfaces import Outputs

#: The corners of the cube that objects lie in.
CUBE = [[-0.5] * 3, [0.5] * 3]

#: Attributes are sums of eight numbers. Where voxels cover a point less than this, they depend on rounding.
ATTRIBUTES = 1e-5
LEAST_COVER = 1e-4


def dual_grid(case: GoldenCase) -> list[Comparison]:
    """The surface of a stored dual grid: its quads, both ways to split them, and the surface for training."""
    inputs, coords = case.inputs, case.inputs["coords"]
    voxels = VoxelSet(torch.nn.functional.pad(coords, (1, 0)))
    weights = inputs["split_weights"][:, 0]
    low, high = torch.tensor(case.config.get("aabb", CUBE), device=case.device)
    vertices = positions(coords, inputs["dual_vertices"], case.config["grid_size"])
    vertices = low + (high - low) * (vertices + 0.5)
    quads = quads_of(voxels.neighbours, inputs["flags"] > 0)
    for_training, fan = fans(quads, vertices, weights)
    outputs: Outputs = {
        "vertices": vertices,
        "quads": quads,
        "faces": split_by_weight(quads, weights),
        "faces_without_weights": split_without_weights(quads, vertices),
        "train_vertices": for_training,
        "train_faces": fan,
    }
    return compare_outputs(case.outputs, outputs)


def attributes(case: GoldenCase) -> list[Comparison]:
    """Attributes of voxels at points."""
    inputs, expected = case.inputs, dict(case.outputs)
    found = sample(inputs["points"], inputs["coords"], inputs["attrs"], case.config["resolution"])
    covered = expected["weight_sum"] > LEAST_COVER
    empty = expected["voxels_found"] == 0
    expected["values"] = torch.where(covered[:, None] | empty[:, None], expected["values"], 0)
    outputs: Outputs = {
        "values": Value(torch.where((covered | empty)[:, None], found.values.cpu(), 0), ATTRIBUTES),
        "voxels_found": found.found,
        "weight_sum": Value(found.weight, ATTRIBUTES),
    }
    return compare_outputs(expected, outputs)


def cascade(case: GoldenCase) -> list[Comparison]:
    """The voxels of finer samples, and what was tried to stay below the limit."""
    outputs: Outputs = {}
    for index, combo in enumerate(case.config["combos"]):
        found = refined(
            case.inputs["coords"], case.config["lr_resolution"], combo["resolution"], combo["max_num_tokens"]
        )
        outputs |= {
            f"{index:02d}.coords": found.coords,
            f"{index:02d}.resolution": torch.tensor(found.resolution),
            f"{index:02d}.tried_resolution_and_tokens": torch.tensor(found.tried),
        }
    return compare_outputs(case.outputs, outputs)


def shape_outputs(decoded: Decoded, logits: Sequence[Tensor]) -> Outputs:
    """What is stored of a decoded shape's masks: the masks, and how near to zero what decides on them comes."""
    flags = decoded.features.feats[:, 3:6].abs()
    largest = torch.stack([one.abs().max() for one in logits])
    nearest = torch.stack([one.abs().min() for one in logits])
    masks: Outputs = {f"mask{level}": mask for level, mask in enumerate(decoded.masks)}
    return masks | {
        "min_abs_subdivision_logit": Value(nearest, scale=largest),
        "max_abs_logits": largest,
        "min_abs_flag_logit": Value(flags.min(), scale=float(flags.max())),
    }

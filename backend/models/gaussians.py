"""3-D Gaussians (Kerbl et al. 2023): what the Gaussian decoder predicts from the latents, as plain tensors.

A Gaussian is stored as predicted, which is also the form of .ply files. Properties give the values that a renderer
uses: with the biases, the activations and the minimum size (the 3-D smoothing filter of Yu et al. 2024,
"Mip-Splatting") applied.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

#: The values of a Gaussian and their shapes, in the order of the decoder's output.
ATTRIBUTES: dict[str, tuple[int, ...]] = {
    "xyz": (3,),
    "features_dc": (1, 3),
    "scaling": (3,),
    "rotation": (4,),
    "opacity": (1,),
}

#: Size to raw scaling, by the name of the activation that undoes it.
INVERSE_ACTIVATIONS = {"exp": math.log, "softplus": lambda size: math.log(math.expm1(size))}


@dataclass(frozen=True)
class Gaussians:
    """G Gaussians in the cube [-0.5, 0.5]^3. Raises ValueError for an unknown activation of the scaling."""

    raw_xyz: Tensor  # [G, 3] in [0, 1]^3
    raw_features_dc: Tensor  # [G, 1, 3]: spherical harmonics of degree 0
    raw_scaling: Tensor  # [G, 3], before bias and activation
    raw_rotation: Tensor  # [G, 4]: a quaternion (w, x, y, z) of any length, minus (1, 0, 0, 0)
    raw_opacity: Tensor  # [G, 1], before bias and sigmoid
    scaling_bias: float  # the size at a raw scaling of 0
    opacity_bias: float  # the opacity at a raw opacity of 0
    minimum_size: float  # added to the sizes in quadrature
    scaling_activation: str = "softplus"  # or "exp"

    def __post_init__(self) -> None:
        if self.scaling_activation not in INVERSE_ACTIVATIONS:
            known = ", ".join(INVERSE_ACTIVATIONS)
            raise ValueError(f"scaling_activation must be one of {known}, not {self.scaling_activation!r}")

    @property
    def scaling_shift(self) -> float:
        """What is added to the raw scaling: the inverse activation of its bias."""
        return INVERSE_ACTIVATIONS[self.scaling_activation](self.scaling_bias)

    @property
    def opacity_shift(self) -> float:
        """What is added to the raw opacity: the logit of its bias."""
        return math.log(self.opacity_bias / (1 - self.opacity_bias))

    @property
    def xyz(self) -> Tensor:
        """Centres [G, 3] in [-0.5, 0.5]^3, z up."""
        return self.raw_xyz - 0.5

    @property
    def scaling(self) -> Tensor:
        """Standard deviations [G, 3] along the axes of the rotation."""
        activate = torch.exp if self.scaling_activation == "exp" else F.softplus
        size = activate(self.raw_scaling + self.scaling_shift)
        return (size.square() + self.minimum_size**2).sqrt()

    @property
    def rotation(self) -> Tensor:
        """Unit quaternions [G, 4] (w, x, y, z)."""
        w, xyz = self.raw_rotation[:, :1], self.raw_rotation[:, 1:]
        return F.normalize(torch.cat([w + 1, xyz], dim=1), dim=-1)

    @property
    def opacity(self) -> Tensor:
        """Opacities [G, 1] in 0..1."""
        return torch.sigmoid(self.raw_opacity + self.opacity_shift)

    @property
    def covariance(self) -> Tensor:
        """The upper triangle [G, 6] (xx, xy, xz, yy, yz, zz) of the covariances (Kerbl et al. 2023, equation 6)."""
        half = rotation_matrices(self.rotation) * self.scaling[:, None, :]
        row, column = torch.triu_indices(3, 3, device=half.device)
        return (half @ half.transpose(1, 2))[:, row, column]


def rotation_matrices(quaternions: Tensor) -> Tensor:
    """Unit quaternions [G, 4] (w, x, y, z) as rotation matrices [G, 3, 3]."""
    w, x, y, z = quaternions.unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def hammersley(count: int) -> Tensor:
    """The first ``count`` points of Hammersley's sequence in [0, 1)^3, [count, 3] float64.

    Point i has the coordinates i / count and the radical inverses of i in bases 2 and 3.
    """
    points = [(i / count, _radical_inverse(i, 2), _radical_inverse(i, 3)) for i in range(count)]
    return torch.tensor(points, dtype=torch.float64, device="cpu")  # even if the default is the meta device


def offset_perturbation(count: int, voxel_size: float) -> Tensor:
    """Offsets before tanh, [count, 3] float32, that spread ``count`` Gaussians evenly over a voxel.

    After tanh, -1 and 1 are opposite sides of a cube that is ``voxel_size`` voxels wide.
    """
    return torch.atanh((2 * hammersley(count).float() - 1) / voxel_size)


def _radical_inverse(number: int, base: int) -> float:
    """The digits of ``number`` mirrored at the radix point."""
    value, weight = 0.0, 1.0 / base
    while number:
        number, digit = divmod(number, base)
        value += digit * weight
        weight /= base
    return value

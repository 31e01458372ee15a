"""Signed distances of simple solids, and the field that joins them into an object.

Every function takes coordinates ``x, y, z`` of shape [B, N] (B objects, N points each) and sizes of shape [B, 1],
so that one call serves a whole batch of objects of one family. Distances are negative inside. They are exact or a lower
bound in magnitude: sphere tracing and the search for surface voxels rely on that. The formulas are the common ones of
constructive solid geometry (see I. Quilez, "Distance functions").
"""

from __future__ import annotations

import torch
from torch import Tensor

Size = Tensor | float


def length(*components: Tensor) -> Tensor:
    """The Euclidean norm of a vector given by its components."""
    total = components[0] * components[0]
    for component in components[1:]:
        total = torch.addcmul(total, component, component)
    return total.sqrt_()


def _from_axes(*excess: Tensor) -> Tensor:
    """The distance of a point from a product shape, given by how much it exceeds the shape along each axis."""
    inside = excess[0]
    for e in excess[1:]:
        inside = torch.maximum(inside, e)
    return length(*(e.clamp_min(0) for e in excess)) + inside.clamp_max(0)


def box(x: Tensor, y: Tensor, z: Tensor, hx: Size, hy: Size, hz: Size, rounding: float = 0.0) -> Tensor:
    """Box with half sizes hx, hy, hz around the origin, with rounded edges."""
    r = rounding
    return _from_axes(x.abs() - (hx - r), y.abs() - (hy - r), z.abs() - (hz - r)) - r


def cylinder(x: Tensor, y: Tensor, z: Tensor, radius: Size, half_height: Size, rounding: float = 0.0) -> Tensor:
    """Upright cylinder around the origin."""
    return _from_axes(length(x, y) - (radius - rounding), z.abs() - (half_height - rounding)) - rounding


def cone(x: Tensor, y: Tensor, z: Tensor, bottom: Size, top: Size, half_height: Size) -> Tensor:
    """Upright truncated cone: radius ``bottom`` at z = -half_height and ``top`` at z = +half_height (lower bound)."""
    slope = (top - bottom) / (2 * half_height)
    mantle = length(x, y) - (bottom + slope * (z + half_height))
    return torch.maximum(mantle / (1 + slope * slope) ** 0.5, z.abs() - half_height)


def sphere(x: Tensor, y: Tensor, z: Tensor, radius: Size) -> Tensor:
    """Sphere around the origin."""
    return length(x, y, z) - radius


def ellipsoid(x: Tensor, y: Tensor, z: Tensor, rx: Size, ry: Size, rz: Size) -> Tensor:
    """Ellipsoid around the origin (lower bound: the unit sphere's distance times the smallest radius)."""
    smallest = torch.minimum(torch.minimum(torch.as_tensor(rx), torch.as_tensor(ry)), torch.as_tensor(rz))
    return (length(x / rx, y / ry, z / rz) - 1) * smallest


def torus_xz(x: Tensor, y: Tensor, z: Tensor, ring: Size, tube: Size) -> Tensor:
    """Torus in the xz plane around the origin."""
    return length(length(x, z) - ring, y) - tube


def rod(
    x: Tensor, y: Tensor, z: Tensor, a: tuple[Size, Size, Size], b: tuple[Size, Size, Size], radius: Size
) -> Tensor:
    """Straight rod with round ends from a to b."""
    ax, ay, az = a
    dx, dy, dz = b[0] - ax, b[1] - ay, b[2] - az
    px, py, pz = x - ax, y - ay, z - az
    along = ((px * dx + py * dy + pz * dz) / (dx * dx + dy * dy + dz * dz)).clamp(0, 1)
    return length(px - along * dx, py - along * dy, pz - along * dz) - radius


def gable(x: Tensor, y: Tensor, z: Tensor, half_span: Size, half_length: Size, height: Size) -> Tensor:
    """Roof with its ridge along x at z = height, its eaves at y = +-half_span, z = 0 (lower bound)."""
    norm = (half_span * half_span + height * height) ** 0.5
    slope = (y.abs() * height + z * half_span - half_span * height) / norm
    return torch.maximum(torch.maximum(slope, -z), x.abs() - half_length)


class Field:
    """An object under construction: the union of coloured solids, with pieces carved out.

    ``distance`` is [B, N]; ``color`` is [B, N, 3] (sRGB, 0..1), or None if only distances are needed. A point has the
    colour of the part nearest to it. A carved surface has the colour of its cutter.
    """

    def __init__(self, points: Tensor, with_color: bool) -> None:
        """An empty object, to be evaluated at ``points`` [B, N, 3]."""
        self.x, self.y, self.z = (c.contiguous() for c in points.unbind(-1))
        self.distance = torch.full_like(self.x, 1e3)
        self.color = torch.zeros_like(points) if with_color else None

    def at(self, x: Size = 0.0, y: Size = 0.0, z: Size = 0.0) -> tuple[Tensor, Tensor, Tensor]:
        """The points' coordinates relative to a new origin, each [B, N]."""
        return self.x - x, self.y - y, self.z - z

    def add(self, distance: Tensor, color: Tensor) -> None:
        """Add a solid. ``distance``: [B, N]; ``color``: [B, 1, 3] or [B, N, 3]."""
        if self.color is not None:
            self.color = torch.where((distance < self.distance)[..., None], color, self.color)
        self.distance = torch.minimum(self.distance, distance)

    def carve(self, distance: Tensor, color: Tensor, where: Tensor | None = None) -> None:
        """Subtract a solid from everything added so far, in the objects that ``where`` [B, 1] (bool) selects."""
        cut = -distance if where is None else torch.where(where, -distance, torch.full_like(distance, -1e3))
        if self.color is not None:
            self.color = torch.where((cut > self.distance)[..., None], color, self.color)
        self.distance = torch.maximum(self.distance, cut)

    def paint(self, where: Tensor, color: Tensor) -> None:
        """Colour the points that ``where`` [B, N] (bool) selects, without changing the shape."""
        if self.color is not None:
            self.color = torch.where(where[..., None], color, self.color)

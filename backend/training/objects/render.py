"""Pictures of procedural objects: a sphere tracer in plain torch, so that training needs no Blender and no GPU."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .params import Params
from .shapes import evaluate_in_chunks, pack


@dataclass(frozen=True)
class View:
    """A camera that looks at the origin. Azimuth 0 sees the front (-Y), 90 the side at +X. Angles are in degrees."""

    azimuth: float
    elevation: float
    fov: float

    def position(self) -> tuple[float, float, float]:
        """The camera's position, in the units of the cube."""
        a, e = math.radians(self.azimuth), math.radians(self.elevation)
        # The cube's circumsphere fills the view, whatever the field of view.
        distance = 0.8 / math.sin(math.radians(self.fov) / 2)
        return (distance * math.sin(a) * math.cos(e), -distance * math.cos(a) * math.cos(e), distance * math.sin(e))

    def basis(self) -> Tensor:
        """The camera's axes, [3, 3]; the rows are right, up, forward."""
        return _bases(_positions([self]))[0]


def _positions(views: list[View]) -> Tensor:
    return torch.tensor([view.position() for view in views])


def _bases(positions: Tensor) -> Tensor:
    """The axes [B, 3, 3] of cameras at ``positions`` [B, 3]; the rows are right, up, forward."""
    forward = -positions / positions.norm(dim=1, keepdim=True)
    right = torch.linalg.cross(forward, torch.tensor([0.0, 0.0, 1.0]).expand_as(forward))
    right = right / right.norm(dim=1, keepdim=True)
    return torch.stack([right, torch.linalg.cross(right, forward), forward], 1)


@dataclass(frozen=True)
class Light:
    """White light: ``ambient`` of it from everywhere, the rest from one direction (unit vector, camera's axes)."""

    ambient: float
    direction: tuple[float, float, float]


UNLIT = Light(1.0, (0.0, 0.0, 1.0))


def random_view(rng: np.random.Generator) -> View:
    """A random view: azimuth -180..180, elevation 0..45, field of view 25..50 degrees."""
    return View(rng.uniform(-180, 180), rng.uniform(0, 45), rng.uniform(25, 50))


def random_light(rng: np.random.Generator) -> Light:
    """A random light from above and behind the camera, from left to right, with a random ambient share."""
    direction = np.array([rng.uniform(-1, 1), rng.uniform(0.1, 1.2), rng.uniform(0.4, 1.2)])
    direction /= np.linalg.norm(direction)
    return Light(rng.uniform(0.45, 0.7), (float(direction[0]), float(direction[1]), float(direction[2])))


@dataclass(frozen=True)
class Window:
    """The square part of the image plane to render: centre and half size. The full view is 0, 0, 1."""

    u: float = 0.0
    v: float = 0.0
    half: float = 1.0


def camera_rays(views: list[View], size: int, windows: list[Window], device: torch.device) -> tuple[Tensor, Tensor]:
    """The origins [B, 1, 3] and unit directions [B, size * size, 3] of every view's rays, rows from the top."""
    positions = _positions(views)
    right, up, forward = (axes[:, None, None].to(device) for axes in _bases(positions).unbind(1))
    scale = torch.tensor([math.tan(math.radians(view.fov) / 2) for view in views])
    half, at_u, at_v = (torch.tensor([getattr(w, n) for w in windows])[:, None] for n in ("half", "u", "v"))
    axis = ((torch.arange(size) + 0.5) / size * 2 - 1) * half
    u, v = ((x * scale[:, None]).to(device) for x in (at_u + axis, at_v - axis))
    rays = u[:, None, :, None] * right + v[:, :, None, None] * up + forward
    return positions[:, None].to(device), torch.nn.functional.normalize(rays.flatten(1, 2), dim=-1)


def frame(family: str, params: Params, views: list[View], margin: float = 1.2, probe: int = 64) -> list[Window]:
    """A window around each object, with the margin of the image preparation (side = margin x largest extent)."""
    alpha = _coverage(family, params, views, probe)
    ends = []
    for seen in (alpha.any(1), alpha.any(2)):  # columns, rows: the first and the one after the last of each view
        ends += [seen.float().argmax(1), probe - seen.flip(1).float().argmax(1)]
    out = []
    for first_column, last_column, first_row, last_row in torch.stack(ends, 1).tolist():
        left, right = first_column / probe * 2 - 1, last_column / probe * 2 - 1
        top, bottom = 1 - first_row / probe * 2, 1 - last_row / probe * 2
        half = max(right - left, top - bottom) / 2 * margin
        out.append(Window((left + right) / 2, (top + bottom) / 2, half))
    return out


def _coverage(family: str, params: Params, views: list[View], size: int) -> Tensor:
    origins, rays = camera_rays(views, size, [Window()] * len(views), params.device)
    return torch.isfinite(_trace(family, params, origins, rays)).reshape(len(views), size, size)


def conditioning_image(rgba: Tensor) -> Tensor:
    """Halve straight-alpha pictures [B, 2S, 2S, 4] on black, as the image preparation does: [B, S, S, 3] uint8."""
    premultiplied = rgba[..., :3].float() * (rgba[..., 3:].float() / 255)
    halved = torch.nn.functional.avg_pool2d(premultiplied.permute(0, 3, 1, 2), 2)
    return halved.permute(0, 2, 3, 1).round().to(torch.uint8)


def render(
    family: str, params: Params, views: list[View], lights: list[Light], size: int, windows: list[Window] | None = None
) -> Tensor:
    """Render one picture of each of B objects: [B, size, size, 4] uint8, straight alpha (0 or 255)."""
    count = len(views)
    origins, rays = camera_rays(views, size, windows or [Window()] * count, params.device)
    depth = _trace(family, params, origins, rays)
    order, seen = pack(torch.isfinite(depth))
    depth = torch.gather(depth, 1, order).where(seen, torch.zeros_like(order, dtype=depth.dtype))
    points = origins + depth[..., None] * torch.gather(rays, 1, order[..., None].expand(-1, -1, 3))
    _, color = evaluate_in_chunks(family, params, points, with_color=True)
    assert color is not None
    if any(light.ambient < 1 for light in lights):
        color = color * _shade(family, params, points, views, lights)[..., None]
    out = torch.zeros(count, size * size, 4, dtype=torch.uint8, device=depth.device)
    rows, columns = seen.nonzero(as_tuple=True)
    rgb = (color[rows, columns].clamp(0, 1) * 255).round().to(torch.uint8)
    out[rows, order[rows, columns]] = torch.nn.functional.pad(rgb, (0, 1), value=255)
    return out.reshape(count, size, size, 4)


def _shade(family: str, params: Params, points: Tensor, views: list[View], lights: list[Light]) -> Tensor:
    """How bright the surface is at ``points`` [B, N, 3], [B, N]: ambient light and Lambert's law."""
    direction = torch.tensor([light.direction for light in lights]) * torch.tensor([1.0, 1.0, -1.0])
    toward = (_bases(_positions(views)).mT @ direction[..., None]).to(points.device)
    ambient = torch.tensor([[light.ambient] for light in lights]).to(points.device)
    direct = torch.tensor([[(1 - light.ambient) * 1.15] for light in lights]).to(points.device)
    lambert = (_normals(family, params, points) @ toward)[..., 0].clamp_min(0)
    return ambient + direct * lambert


def surface_map(family: str, params: Params, views: list[View], size: int, windows: list[Window]) -> Tensor:
    """What each pixel of each of B objects shows: [B, size, size, 7] uint8.

    Channels: 255 where there is a surface; its position in the object's cube, -0.5..0.5 as 0..255; its colour, unlit.
    """
    count = len(views)
    origins, rays = camera_rays(views, size, windows, params.device)
    depth = _trace(family, params, origins, rays)
    hit = torch.isfinite(depth)
    points = origins + torch.where(hit, depth, torch.zeros_like(depth))[..., None] * rays
    _, color = evaluate_in_chunks(family, params, points, with_color=True)
    assert color is not None
    values = torch.cat([torch.ones_like(points[..., :1]), points + 0.5, color], -1)
    return (values.clamp(0, 1) * hit[..., None] * 255).round().to(torch.uint8).reshape(count, size, size, 7)


def _normals(family: str, params: Params, points: Tensor, step: float = 1e-3) -> Tensor:
    """Outward unit normals [B, N, 3], from differences over the corners of a tetrahedron."""
    corners = torch.tensor([[1.0, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], device=points.device)
    total = torch.zeros_like(points)
    for corner in corners:
        total += corner * evaluate_in_chunks(family, params, points + step * corner)[0][..., None]
    return torch.nn.functional.normalize(total, dim=-1)


def _trace(family: str, params: Params, origins: Tensor, rays: Tensor, close: float = 8e-4, block: int = 4) -> Tensor:
    """The distance along each of the size^2 rays to the surface, [B, size^2]; infinite if a ray meets nothing.

    First goes one ray for every ``block``^2 pixels, as a cone as wide as the block. It stops where there may be a
    surface inside the cone. The block's own rays start before that point, by their distance apart there. If the cone
    meets nothing, they do not start at all.
    """
    count, total, _ = rays.shape
    size = round(total**0.5)
    grid = rays.reshape(count, size // block, block, size // block, block, 3).transpose(2, 3)
    heads = torch.nn.functional.normalize(grid.mean((3, 4)), dim=-1)
    # The cone's slope: from a block's middle to its farthest ray.
    slope = (grid - heads[:, :, :, None, None]).square().sum(-1).max().sqrt().item()
    heads = heads.flatten(1, 2)
    wide = 0.5 + slope * (origins.norm(dim=-1).max().item() + 0.5)  # a cone may touch the cube while its axis misses it
    start = _march(family, params, origins, heads, _crossing(origins, heads, wide), close, slope)
    start = start.reshape(count, size // block, size // block, 1, 1).expand(-1, -1, -1, block, block)
    start = start.transpose(2, 3).reshape(count, total)
    enter, leave = _crossing(origins, rays, 0.5)
    return _march(family, params, origins, rays, (torch.maximum(start * (1 - slope), enter), leave), close, 0.0)


def _crossing(origins: Tensor, rays: Tensor, half: float) -> tuple[Tensor, Tensor]:
    """The distances at which rays enter and leave the cube [-half, half]^3."""
    inverse = 1.0 / rays.where(rays.abs() > 1e-9, torch.full_like(rays, 1e-9))
    low, high = (-half - origins) * inverse, (half - origins) * inverse
    return torch.minimum(low, high).amax(-1), torch.maximum(low, high).amin(-1)


def _march(
    family: str,
    params: Params,
    origins: Tensor,
    rays: Tensor,
    span: tuple[Tensor, Tensor],
    close: float,
    slope: float,
    steps: int = 64,
) -> Tensor:
    """Sphere-trace each ray's ``span`` until the surface is nearer than ``close + slope * depth``; infinite for a miss.

    Every few steps, finished rays are dropped: the live rays of the B objects move to the front, the rest is cut off.
    """
    start, stop = span
    depth = torch.full_like(start, torch.inf)
    live = start < stop
    index = torch.arange(rays.shape[1], device=rays.device).expand(len(rays), -1)
    # A miss has an infinite start and is never live. A finite start keeps its lane harmless.
    t = start.where(live, torch.zeros_like(start))
    for step in range(steps):
        if step % 3 == 0:
            order, live = pack(live)
            if order.shape[1] == 0:
                break
            index, t, stop = (torch.gather(a, 1, order) for a in (index, t, stop))
            direction = torch.gather(rays, 1, index[..., None].expand(-1, -1, 3))
        distance, _ = evaluate_in_chunks(family, params, origins + t[..., None] * direction)
        met = live & (distance < close + slope * t)
        rows = met.nonzero(as_tuple=True)
        depth[rows[0], index[rows]] = t[rows]
        live = live & ~met & (t < stop)
        t = t + distance * live
    return depth

"""How close a generated object is to the true one: volume, surface, colour, and the modes of its hidden choices."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial import cKDTree

from ..mesh import Mesh, RawMesh, Surface
from ..mesh.clean.cleanup import reachable_corners
from ..mesh.extract.flexicubes import extract_mesh
from ..training.objects.drawing import draw_colors, outer_surface
from ..training.objects.families import FAMILIES
from ..training.objects.lattice import MESH_CELLS, corner_table
from ..training.objects.params import Params
from ..training.objects.render import UNLIT, View, Window, render
from ..training.objects.shapes import corner_distances, draw, surface_voxels


def filled(surface: Surface) -> np.ndarray:
    """The occupancy of the lattice corners, [R + 1]^3: everything that a flood fill from the border does not reach."""
    side = surface.resolution + 1
    outside = reachable_corners(surface.inside_corners, surface.resolution)
    return ~outside.at(np.arange(side**3)).reshape(side, side, side)


def true_occupancy(family: str, params: Params, resolution: int) -> np.ndarray:
    """The occupancy of B analytic objects, filled the same way, [B, R + 1, R + 1, R + 1]."""
    inside = (corner_distances(family, params, resolution) < 0).numpy()
    return np.stack([ndimage.binary_fill_holes(solid) for solid in inside])


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """The intersection over union of two boolean arrays of the same shape; 0 if both are empty."""
    return float((a & b).sum() / max(1, (a | b).sum()))


def true_surface(family: str, params: Params, voxel_resolution: int) -> Surface:
    """The outer part of ``raw_surface``."""
    return outer_surface(raw_surface(family, params, voxel_resolution))


def raw_surface(family: str, params: Params, voxel_resolution: int) -> RawMesh:
    """What a perfect decoder would make of one object: the extractor's surface from analytic distances and colours."""
    voxels = surface_voxels(family, params, voxel_resolution, MESH_CELLS, with_corner_color=True)
    assert voxels.color is not None
    table = corner_table()
    resolution = voxel_resolution * MESH_CELLS
    features = torch.zeros(len(voxels.coords) * 64, 101)
    features[:, :8] = (voxels.distance[:, table].float().flatten(0, 1) + 1) / resolution
    color = (voxels.color[:, table].float().flatten(0, 1) / 255).clamp(1e-3, 1 - 1e-3)
    features[:, 53:].reshape(-1, 8, 6)[..., :3] = color.logit()
    child = torch.arange(8)
    child = torch.stack([child >> 2 & 1, child >> 1 & 1, child & 1], 1)
    cells = (2 * child[:, None] + child[None]).reshape(64, 3)
    coords = (voxels.coords.int()[:, None] * MESH_CELLS + cells).flatten(0, 1).int()
    return extract_mesh(coords, features, resolution)


def sample_surface(surface: Mesh, count: int, seed: int) -> np.ndarray:
    """Random points on a surface, [count, 3], uniform by area."""
    rng = np.random.default_rng(seed)
    a, b, c = (surface.vertices[surface.faces[:, k]].astype(np.float64) for k in range(3))
    areas = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    face = rng.choice(len(areas), count, p=areas / areas.sum())
    u, v = rng.random((2, count, 1))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    return a[face] + u * (b[face] - a[face]) + v * (c[face] - a[face])


@dataclass(frozen=True)
class Gaps:
    """How far each point of one set is from the other set, and the reverse, in units of the cube's side."""

    there: np.ndarray
    back: np.ndarray

    @classmethod
    def between(cls, a: cKDTree, b: cKDTree) -> Gaps:
        """The gaps between two sets of points."""
        return cls(b.query(a.data)[0], a.query(b.data)[0])

    def f_score(self, threshold: float = 0.05) -> float:
        """The harmonic mean of the two shares of points within ``threshold`` of the other set."""
        precision, recall = (self.there < threshold).mean(), (self.back < threshold).mean()
        return float(2 * precision * recall / max(1e-9, precision + recall))

    def chamfer(self) -> float:
        """The sum of the two mean distances."""
        return float(self.there.mean() + self.back.mean())


@dataclass(frozen=True)
class Likeness:
    """How alike a result and the truth look from one view: the PSNR in dB of the unlit colours, on middle grey over the
    union of the silhouettes, and the IoU of the silhouettes."""

    psnr: float
    silhouette: float


def true_picture(family: str, params: Params, view: View, window: Window, size: int = 112) -> np.ndarray:
    """The unlit colours of one analytic object, in the form that ``draw_colors`` returns."""
    return render(family, params, [view], [UNLIT], size, [window])[0].numpy() / np.float32(255)


def likeness(surface: Mesh, truth: np.ndarray, view: View, window: Window) -> Likeness:
    """Compare a result with the ``true_picture`` of an object."""
    made = draw_colors(surface, view, window, len(truth))
    shown = [image[..., 3] > 0 for image in (truth, made)]
    either = shown[0] | shown[1]
    layers = [np.where(image[..., 3:] > 0, image[..., :3], 0.5)[either] for image in (truth, made)]
    psnr = -10 * np.log10(max(1e-9, np.mean((layers[0] - layers[1]) ** 2)))
    return Likeness(float(psnr), iou(*shown))


def with_values(params: Params, **values: float) -> Params:
    """The same objects with some parameters replaced."""
    replaced = {name: torch.full_like(getattr(params, name), value) for name, value in values.items()}
    return params.replaced(replaced)


def is_hidden(family: str, params: Params, choice: str, view: View, window: Window, size: int = 112) -> bool:
    """Whether no mode of a choice changes a pixel of the view by more than 2/255, for one object."""
    pictures = [
        render(family, with_values(params, **{choice: float(mode)}), [view], [UNLIT], size, [window]).int()
        for mode in range(len(FAMILIES[family].modes[choice]))
    ]
    return all(int((pictures[0] - other).abs().max()) <= 2 for other in pictures[1:])


def chosen_mode(occupancy: np.ndarray, family: str, number: int, choice: str) -> int:
    """The mode of a hidden choice in a generated object: that of the completion it agrees with best, in the region
    where the modes differ. The other hidden parameters are tried at six draws, because the object drew its own."""
    completions, modes = _completions_by_mode(family, number, choice, occupancy.shape[0] - 1)
    differs = completions.any(0) & ~completions.all(0)
    agreement = [(c[differs] == occupancy[differs]).mean() for c in completions]
    return modes[int(np.argmax(agreement))]


@lru_cache(maxsize=128)  # the samples of one image follow each other
def _completions_by_mode(family: str, number: int, choice: str, resolution: int) -> tuple[np.ndarray, list[int]]:
    completions, modes = [], []
    for hidden_draw in range(6):
        params = draw(family, [number], [1000 + hidden_draw])
        for mode in range(len(FAMILIES[family].modes[choice])):
            completions.append(true_occupancy(family, with_values(params, **{choice: float(mode)}), resolution)[0])
            modes.append(mode)
    return np.stack(completions), modes

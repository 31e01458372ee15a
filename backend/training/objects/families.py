"""The procedural families: for each, its parameters and the solids it is made of.

Objects fill the cube [-0.5, 0.5]^3 along their longest side, z up, front to -Y. *Visible* parameters show in (nearly)
every view. *Hidden* ones are drawn independently of them, and shape places that at least half of all views cannot see:
niches in a flat back, hollows from below, the underside of a seat. So one picture has many right answers, and a model
must generate, not average.
"""

from __future__ import annotations

from . import solids
from .params import ACCENT, PART, Family

_BACK = (0.3, 0.45, 0.25)
_UNDER = (0.25, 0.5, 0.25)

FAMILIES: dict[str, Family] = {
    f.name: f
    for f in (
        Family(
            "chair",
            solids.chair,
            solids.chair_extent,
            {
                "width": (0.5, 0.75),
                "depth": (0.5, 0.72),
                "seat_z": (-0.12, 0.0),
                "thick": (0.11, 0.16),
                "top": (0.28, 0.47),
                "back_thick": (0.11, 0.16),
                "leg": (0.035, 0.06),
            },
            {"back_depth": (0.05, 0.085), "under_depth": (0.05, 0.085)},
            {"back": _BACK, "under": _UNDER},
        ),
        Family(
            "stool",
            solids.stool,
            solids.stool_extent,
            {
                "radius": (0.24, 0.36),
                "seat_z": (0.06, 0.26),
                "thick": (0.14, 0.22),
                "splay": (0.02, 0.12),
                "leg": (0.035, 0.05),
            },
            {"under_depth": (0.06, 0.11), "under_width": (0.75, 1.0)},
            {"under": _UNDER},
        ),
        Family(
            "desk",
            solids.desk,
            solids.desk_extent,
            {
                "width": (0.7, 0.94),
                "depth": (0.42, 0.62),
                "height": (0.1, 0.3),
                "thick": (0.07, 0.12),
                "block": (0.22, 0.34),
                "leg": (0.03, 0.05),
            },
            {"back_depth": (0.1, 0.22), "under_depth": (0.12, 0.25)},
            {"back": _BACK, "under": _UNDER},
            one_sided=True,
        ),
        Family(
            "lamp",
            solids.lamp,
            solids.lamp_extent,
            {
                "base": (0.18, 0.27),
                "base_height": (0.11, 0.18),
                "reach": (0.2, 0.4),
                "shade_z": (0.15, 0.28),
                "shade": (0.19, 0.26),
                "taper": (0.45, 0.85),
                "shade_height": (0.24, 0.36),
            },
            {"under_depth": (0.05, 0.1), "under_width": (0.75, 1.0)},
            {"under": _UNDER, "inside": (0.4, 0.6)},
        ),
        Family(
            "mug",
            solids.mug,
            solids.mug_extent,
            {
                "radius": (0.22, 0.3),
                "height": (0.5, 0.8),
                "taper": (0.75, 1.0),
                "handle": (0.1, 0.15),
                "grip": (0.035, 0.05),
            },
            {"under_depth": (0.06, 0.14), "under_width": (0.75, 1.0)},
            {"under": _UNDER},
            one_sided=True,
        ),
        Family(
            "bottle",
            solids.bottle,
            solids.bottle_extent,
            {
                "width": (0.34, 0.52),
                "depth": (0.3, 0.42),
                "body": (0.4, 0.55),
                "shoulder": (0.08, 0.16),
                "neck": (0.06, 0.1),
                "neck_height": (0.08, 0.16),
            },
            {"back_depth": (0.06, 0.14), "under_depth": (0.08, 0.2)},
            {"back": _BACK, "under": _UNDER},
        ),
        Family(
            "house",
            solids.house,
            solids.house_extent,
            {
                "width": (0.55, 0.88),
                "depth": (0.45, 0.7),
                "wall": (0.3, 0.45),
                "roof": (0.15, 0.33),
                "chimney": (-0.22, 0.22),
                "door": (-0.12, 0.12),
            },
            {"back_depth": (0.08, 0.2), "under_depth": (0.08, 0.2)},
            {"back": _BACK, "under": _UNDER},
        ),
        Family(
            "car",
            solids.car,
            solids.car_extent,
            {
                "width": (0.38, 0.52),
                "length": (0.75, 0.94),
                "body": (0.18, 0.26),
                "cabin": (0.12, 0.2),
                "cabin_length": (0.3, 0.5),
                "cabin_y": (-0.05, 0.15),
                "wheel": (0.08, 0.12),
            },
            {"back_depth": (0.08, 0.2), "under_depth": (0.05, 0.11)},
            {"back": _BACK, "under": _UNDER},
        ),
        Family(
            "rocket",
            solids.rocket,
            solids.rocket_extent,
            {
                "radius": (0.14, 0.22),
                "body": (0.45, 0.6),
                "nose": (0.15, 0.28),
                "fin": (0.1, 0.2),
                "fin_height": (0.2, 0.34),
                "window": (0.05, 0.08),
            },
            {"under_depth": (0.07, 0.2), "under_width": (0.75, 1.0)},
            {"under": _UNDER},
        ),
        Family(
            "tree",
            solids.tree,
            solids.tree_extent,
            {
                "pot": (0.2, 0.3),
                "pot_width": (0.32, 0.46),
                "trunk": (0.08, 0.18),
                "crown": (0.16, 0.26),
                "spread": (0.2, 0.38),
                "tip": (0.15, 0.28),
            },
            {"back_depth": (0.08, 0.16), "under_depth": (0.1, 0.18)},
            {"back": _BACK, "under": _UNDER},
            {PART: (0.05, 0.11), ACCENT: (0.08, 0.42)},
        ),
        Family(
            "mushroom",
            solids.mushroom,
            solids.mushroom_extent,
            {
                "stem": (0.35, 0.5),
                "foot": (0.16, 0.23),
                "taper": (0.65, 0.95),
                "cap": (0.32, 0.47),
                "dome": (0.2, 0.36),
            },
            {"under_depth": (0.12, 0.26), "under_width": (0.75, 1.0), "gill": (0.05, 0.1)},
            {"under": _UNDER, "gills": (0.45, 0.55)},
        ),
        Family(
            "robot",
            solids.robot,
            solids.robot_extent,
            {
                "width": (0.36, 0.52),
                "depth": (0.28, 0.4),
                "body": (0.3, 0.42),
                "head": (0.16, 0.24),
                "arm": (0.2, 0.4),
                "leg": (0.045, 0.07),
            },
            {"back_depth": (0.06, 0.13), "under_depth": (0.08, 0.14)},
            {"back": _BACK, "under": _UNDER},
        ),
    )
}

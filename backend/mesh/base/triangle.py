"""The closest point of a triangle, for compiled loops.

Exact (Eberly 1999, "Distance Between Point and Triangle in 3D"): the minimum of a quadratic over the domain of the
barycentric coordinates. A triangle has a first corner a and edges u and v from there. With e = p - a for a point p,
only the products uu, uv, vv, ue and ve matter. Points of the triangle are a + s u + t v.
"""

from __future__ import annotations

from .compiled import inlined

TINY = 1e-30


@inlined
def above(uu: float, uv: float, vv: float, ue: float, ve: float) -> tuple[float, float]:
    """Coordinates s, t of the closest point of a triangle's plane."""
    scale = 1.0 / max(uu * vv - uv * uv, TINY)
    return (vv * ue - uv * ve) * scale, (uu * ve - uv * ue) * scale


@inlined
def on_border(uu: float, uv: float, vv: float, ue: float, ve: float) -> tuple[float, float]:
    """Coordinates s, t of the closest point of a triangle's border."""
    on_u = min(max(ue / max(uu, TINY), 0.0), 1.0)
    on_v = min(max(ve / max(vv, TINY), 0.0), 1.0)
    across = min(max((uu - uv + ve - ue) / max(uu - 2 * uv + vv, TINY), 0.0), 1.0)
    rest = 1.0 - across
    cost_u, cost_v = on_u * (uu * on_u - 2 * ue), on_v * (vv * on_v - 2 * ve)
    cost_across = rest * (uu * rest + 2 * uv * across - 2 * ue) + across * (vv * across - 2 * ve)
    if cost_v < cost_u and cost_v <= cost_across:
        return 0.0, on_v
    if cost_u <= cost_across:
        return on_u, 0.0
    return rest, across


@inlined
def closest(uu: float, uv: float, vv: float, ue: float, ve: float) -> tuple[float, float]:
    """Coordinates s, t of the closest point of a triangle."""
    s, t = above(uu, uv, vv, ue, ve)
    if min(s, t, 1.0 - s - t) >= 0:
        return s, t
    return on_border(uu, uv, vv, ue, ve)

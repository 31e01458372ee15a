"""The solids that each family of objects is made of, and how far they reach.

Everything is in the units of the parameters, z up, front to -Y. The function ``..._extent`` of a family determines how
an object is scaled and moved to the middle of the cube. Hidden choices stay inside that extent.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .params import ACCENT, INSIDE, MAIN, PART, SECOND, Extent, Params, Size
from .primitives import Field, box, cone, cylinder, ellipsoid, gable, length, rod, sphere, torus_xz


def patterned(f: Field, p: Params) -> Tensor:
    """The colour of the main part: plain, stripes across z, stripes across x, or checks; [B, 1, 3] or [B, N, 3]."""
    if f.color is None:
        return p.color(MAIN)
    z_band = torch.floor(f.z / p.cell).remainder(2)
    x_band = torch.floor((f.x + f.y) / p.cell).remainder(2)
    pattern = p.pattern
    odd = torch.where(pattern == 1, z_band, torch.where(pattern == 2, x_band, (z_band + x_band).remainder(2)))
    second = (odd == 1) & (pattern > 0)
    return torch.where(second[..., None], p.color(SECOND), p.color(MAIN))


def _back_niche(f: Field, p: Params, y: Size, z: Size, hx: Size, hz: Size, x: Size = 0.0) -> None:
    """Hidden choice ``back``: 0 closed, 1 a wide niche, 2 two niches; ``back_depth`` deep from the plane y."""
    inside = p.color(INSIDE)
    fx, fy, fz = f.at(x, y, z)
    f.carve(box(fx, fy, fz, hx, p.back_depth, hz), inside, p.mode("back", 1))
    f.carve(box(fx.abs() - hx * 0.58, fy, fz, hx * 0.36, p.back_depth, hz), inside, p.mode("back", 2))


def _under_box(f: Field, p: Params, z: Size, hx: Size, hy: Size, x: Size = 0.0, y: Size = 0.0) -> None:
    """Hidden choice ``under``: 0 solid, 1 hollow from below, 2 two hollows; ``under_depth`` high from the plane z."""
    inside = p.color(INSIDE)
    fx, fy, fz = f.at(x, y, z)
    f.carve(box(fx, fy, fz, hx, hy, p.under_depth), inside, p.mode("under", 1))
    f.carve(box(fx, fy.abs() - hy * 0.58, fz, hx, hy * 0.36, p.under_depth), inside, p.mode("under", 2))


def _under_round(f: Field, p: Params, z: Size, radius: Size, x: Size = 0.0, y: Size = 0.0) -> None:
    """Hidden choice ``under`` of round bases: 0 solid, 1 a wide hollow, 2 a ring-shaped hollow around a core."""
    inside = p.color(INSIDE)
    fx, fy, fz = f.at(x, y, z)
    radius = radius * p.under_width
    hollow = cylinder(fx, fy, fz, radius, p.under_depth)
    f.carve(hollow, inside, p.mode("under", 1))
    core = radius * 0.5 - length(fx, fy)
    f.carve(torch.maximum(hollow, core), inside, p.mode("under", 2))


def chair(f: Field, p: Params) -> None:
    """A seat on four legs, with a back. Hidden: niches in the back, hollows under the seat."""
    seat_low = p.seat_z - p.thick
    f.add(box(*f.at(0, 0, p.seat_z - p.thick / 2), p.width / 2, p.depth / 2, p.thick / 2, 0.01), patterned(f, p))
    _under_box(f, p, seat_low, p.width / 2 - 0.07, p.depth / 2 - 0.07)
    back_half = (p.top - p.seat_z) / 2
    back_y = p.depth / 2 - p.back_thick / 2
    f.add(box(*f.at(0, back_y, p.seat_z + back_half), p.width / 2, p.back_thick / 2, back_half, 0.01), p.color(PART))
    _back_niche(f, p, p.depth / 2, p.seat_z + back_half, p.width / 2 - 0.07, back_half - 0.06)
    x, y, z = f.at(0, 0, (seat_low - 0.46) / 2)
    legs = box(
        x.abs() - (p.width / 2 - p.leg), y.abs() - (p.depth / 2 - p.leg), z, p.leg, p.leg, (seat_low + 0.46) / 2 + 0.01
    )
    f.add(legs, p.color(ACCENT))


def chair_extent(p: Params) -> Extent:
    """How far a chair reaches along x, y and z."""
    return (-p.width / 2, p.width / 2), (-p.depth / 2, p.depth / 2), (-0.47, p.top)


def stool(f: Field, p: Params) -> None:
    """A round seat on four splayed legs, with a rung in front. Hidden: a hollow under the seat."""
    seat_low = p.seat_z - p.thick
    f.add(cylinder(*f.at(0, 0, p.seat_z - p.thick / 2), p.radius, p.thick / 2, 0.015), patterned(f, p))
    _under_round(f, p, seat_low, p.radius - 0.06)
    x, y = f.x.abs(), f.y.abs()
    inner = p.radius * 0.62
    outer = inner + p.splay
    f.add(rod(x, y, f.z, (inner, inner, seat_low), (outer, outer, -0.42), p.leg), p.color(PART))
    rung_z = (seat_low - 0.42) / 2
    middle = (inner + outer) / 2
    f.add(rod(x, f.y, f.z, (0.0, -middle, rung_z), (middle, -middle, rung_z), p.leg * 0.9), p.color(ACCENT))


def stool_extent(p: Params) -> Extent:
    """How far a stool reaches along x, y and z."""
    half = torch.maximum(p.radius, p.radius * 0.62 + p.splay + p.leg)
    return (-half, half), (-half, half), (-0.42 - p.leg, p.seat_z)


def desk(f: Field, p: Params) -> None:
    """A top on a block with drawers and on a side wall. Hidden: niches in the back of the block, hollows under it."""
    top_low = p.height - p.thick
    half = (top_low + 0.4) / 2
    x_block = p.width / 2 - p.block / 2
    f.add(box(*f.at(x_block, 0, half - 0.4), p.block / 2, p.depth / 2, half), p.color(PART))
    _back_niche(f, p, p.depth / 2, half - 0.4, p.block / 2 - 0.05, half - 0.06, x_block)
    _under_box(f, p, -0.4, p.block / 2 - 0.05, p.depth / 2 - 0.14, x_block, -0.08)
    f.add(box(*f.at(-p.width / 2 + p.leg, 0, half - 0.4), p.leg, p.depth / 2, half), p.color(PART))
    f.add(box(*f.at(0, 0, p.height - p.thick / 2), p.width / 2, p.depth / 2, p.thick / 2, 0.01), patterned(f, p))
    x, y, z = f.at(x_block, -p.depth / 2, half - 0.4)
    f.add(box(x, y, z.abs() - half * 0.5, p.block * 0.3, 0.03, half * 0.32), p.color(ACCENT))


def desk_extent(p: Params) -> Extent:
    """How far a desk reaches along x, y and z."""
    return (-p.width / 2, p.width / 2), (-p.depth / 2 - 0.03, p.depth / 2), (-0.4, p.height)


def lamp(f: Field, p: Params) -> None:
    """A round base, a post with an arm to the front, a shade. Hidden: a hollow under the base, and whether the shade is
    filled."""
    base_top = -0.45 + p.base_height
    f.add(cylinder(*f.at(0, p.reach / 2, -0.45 + p.base_height / 2), p.base, p.base_height / 2, 0.01), patterned(f, p))
    _under_round(f, p, -0.45, p.base - 0.06, 0.0, p.reach / 2)
    post = rod(f.x, f.y, f.z, (0.0, p.reach / 2, base_top), (0.0, p.reach / 2, p.shade_z), 0.035)
    arm = rod(f.x, f.y, f.z, (0.0, p.reach / 2, p.shade_z), (0.0, -p.reach / 2, p.shade_z), 0.035)
    f.add(torch.minimum(post, arm), p.color(PART))
    half = p.shade_height / 2
    centre = f.at(0, -p.reach / 2, p.shade_z)
    shade = cone(*centre, p.shade, p.shade * p.taper, half)
    hollow = cone(centre[0], centre[1], centre[2] + 0.06, p.shade - 0.05, (p.shade - 0.05) * p.taper, half)
    filled = torch.maximum(shade, -torch.where(p.mode("inside", 1), hollow, torch.full_like(hollow, 1e3)))
    color = p.color(ACCENT)
    if f.color is not None:
        inner = (hollow < 0.005) & p.mode("inside", 1)
        color = torch.where(inner[..., None], p.color(INSIDE), color)
    f.add(filled, color)


def lamp_extent(p: Params) -> Extent:
    """How far a lamp reaches along x, y and z."""
    half = torch.maximum(p.base, p.shade)
    along = (-p.reach / 2 - p.shade, p.reach / 2 + p.base)
    return (-half, half), along, (-0.45, p.shade_z + p.shade_height / 2)


def mug(f: Field, p: Params) -> None:
    """A cup that widens to its rim, with a handle at +X. Hidden: a hollow under it."""
    half = p.height / 2
    left = -0.08  # leaves room for the handle
    f.add(cone(*f.at(left), p.radius * p.taper, p.radius, half), patterned(f, p))
    x, y, z = f.at(left + p.radius * (1 + p.taper) / 2 + p.handle * 0.35)
    ring = torus_xz(x, y, z, p.handle, p.grip)
    f.add(torch.maximum(ring, p.radius * 0.75 - length(f.x - left, f.y)), p.color(PART))
    inner = p.radius - 0.07
    depth = p.height - 0.2
    f.carve(cone(*f.at(left, 0, half - depth / 2 + 0.02), inner * p.taper, inner, depth / 2 + 0.02), p.color(ACCENT))
    _under_round(f, p, -half, p.radius * p.taper - 0.07, left)


def mug_extent(p: Params) -> Extent:
    """How far a mug reaches along x, y and z."""
    left = -0.08
    handle = left + p.radius * (1 + p.taper) / 2 + p.handle * 1.35 + p.grip
    return (left - p.radius, handle), (-p.radius, p.radius), (-p.height / 2, p.height / 2)


def bottle(f: Field, p: Params) -> None:
    """A square body with a label, a shoulder, a neck and a cap. Hidden: niches in the back, hollows under it."""
    half = p.body / 2
    low = -0.46
    f.add(box(*f.at(0, 0, low + half), p.width / 2, p.depth / 2, half, 0.03), patterned(f, p))
    x, y, z = f.at(0, 0, low + p.body)
    shoulder = cone(x, y, z - p.shoulder / 2, torch.minimum(p.width, p.depth) / 2 - 0.01, p.neck, p.shoulder / 2)
    f.add(shoulder, p.color(MAIN))
    _back_niche(f, p, p.depth / 2, low + half, p.width / 2 - 0.07, half - 0.08)
    _under_box(f, p, low, p.width / 2 - 0.07, p.depth / 4 - 0.02, 0.0, -p.depth / 4 + 0.05)
    f.add(cylinder(x, y, z - p.shoulder - p.neck_height / 2 + 0.01, p.neck, p.neck_height / 2 + 0.01), p.color(PART))
    f.add(cylinder(x, y, z - p.shoulder - p.neck_height - 0.02, p.neck + 0.025, 0.045), p.color(ACCENT))
    label = (f.y < 0) & (f.x.abs() < p.width * 0.32) & ((f.z - low - half).abs() < half * 0.55)
    f.paint(label & (f.y < -p.depth / 2 + 0.04), p.color(ACCENT))


def bottle_extent(p: Params) -> Extent:
    """How far a bottle reaches along x, y and z."""
    low = -0.46
    high = low + p.body + p.shoulder + p.neck_height + 0.065
    return (-p.width / 2, p.width / 2), (-p.depth / 2, p.depth / 2), (low, high)


def house(f: Field, p: Params) -> None:
    """Walls with a door and a window under a gable roof, with a chimney. Hidden: niches in the back, hollows below."""
    low = -0.42
    half = p.wall / 2
    f.add(box(*f.at(0, 0, low + half), p.width / 2, p.depth / 2, half), patterned(f, p))
    _back_niche(f, p, p.depth / 2, low + half, p.width / 2 - 0.08, half - 0.06)
    _under_box(f, p, low, p.width / 2 - 0.09, p.depth / 4 - 0.05, 0.0, -p.depth / 4 + 0.03)
    x, y, z = f.at(0, 0, low + p.wall)
    f.add(gable(x, y, z, p.depth / 2 + 0.04, p.width / 2 + 0.03, p.roof), p.color(PART))
    f.add(box(x - p.chimney, y + p.depth * 0.18, z - p.roof * 0.7, 0.055, 0.055, p.roof * 0.5), p.color(ACCENT))
    door = box(*f.at(p.door, -p.depth / 2, low + 0.12), 0.075, 0.03, 0.12)
    f.add(door, p.color(ACCENT))
    window = box(*f.at(-p.door - 0.05, -p.depth / 2, low + p.wall * 0.6), 0.06, 0.025, 0.06)
    f.add(window, p.color(SECOND))


def house_extent(p: Params) -> Extent:
    """How far a house reaches along x, y and z."""
    low = -0.42
    x, y = p.width / 2 + 0.03, p.depth / 2 + 0.04
    return (-x, x), (-y, y), (low, low + p.wall + p.roof * 1.2)


def car(f: Field, p: Params) -> None:
    """A body with a cabin, four wheels and two lights. Hidden: niches in the back, hollows under it."""
    low = -0.2
    half = p.body / 2
    f.add(box(*f.at(0, 0, low + half), p.width / 2, p.length / 2, half, 0.03), patterned(f, p))
    _back_niche(f, p, p.length / 2, low + half, p.width / 2 - 0.07, half - 0.045)
    _under_box(f, p, low, p.width / 2 - 0.12, p.length / 2 - 0.2, 0.0, -0.08)
    cabin = box(
        *f.at(0, p.cabin_y, low + p.body + p.cabin / 2), p.width / 2 - 0.03, p.cabin_length / 2, p.cabin / 2, 0.03
    )
    f.add(cabin, p.color(PART))
    f.paint((cabin < 0.01) & (f.z > low + p.body + 0.03) & (f.z < low + p.body + p.cabin - 0.035), p.color(SECOND))
    x, y, z = f.at(0, 0, low)
    wheel = cylinder(y.abs() - p.length * 0.3, z, x.abs() - p.width / 2, p.wheel, 0.045)
    f.add(wheel, p.color(ACCENT))
    lights = box(x.abs() - p.width * 0.32, y + p.length / 2, z - half, 0.05, 0.02, 0.035)
    f.add(lights, p.color(SECOND))


def car_extent(p: Params) -> Extent:
    """How far a car reaches along x, y and z."""
    low = -0.2
    x, back = p.width / 2 + 0.045, torch.maximum(p.length / 2, p.cabin_y + p.cabin_length / 2)
    return (-x, x), (-p.length / 2 - 0.02, back), (low - p.wheel, low + p.body + p.cabin)


def rocket(f: Field, p: Params) -> None:
    """A cylinder with a nose, four fins and a hatch. Hidden: a hollow under it."""
    low = -0.4
    half = p.body / 2
    f.add(cylinder(*f.at(0, 0, low + half), p.radius, half), patterned(f, p))
    nose = cone(*f.at(0, 0, low + p.body + p.nose / 2), p.radius, p.radius * 0.1, p.nose / 2)
    f.add(nose, p.color(PART))
    _under_round(f, p, low, p.radius - 0.05)
    reach = p.radius + p.fin
    for x, y in ((f.x, f.y), (f.y, f.x)):
        blade = torch.maximum(
            box(x, y, f.z - low - p.fin_height / 2 + 0.05, reach, 0.035, p.fin_height / 2),
            (x.abs() - p.radius) * 0.8 + (f.z - low - p.fin_height + 0.05) * 0.6,
        )
        f.add(torch.maximum(blade, p.radius * 0.6 - length(f.x, f.y)), p.color(ACCENT))
    hatch = sphere(*f.at(0, -p.radius, low + p.body * 0.7), p.window)
    f.add(hatch, p.color(SECOND))


def rocket_extent(p: Params) -> Extent:
    """How far a rocket reaches along x, y and z."""
    low = -0.4
    reach = p.radius + torch.minimum(p.fin, p.fin_height * 0.75)  # the blades are cut off obliquely
    return (-reach, reach), (-reach, reach), (low - 0.05, low + p.body + p.nose)


def tree(f: Field, p: Params) -> None:
    """A square pot with a label, a trunk and a crown of two cones. Hidden: niches in the back of the pot, hollows under
    it."""
    low = -0.46
    half = p.pot / 2
    f.add(box(*f.at(0, 0, low + half), p.pot_width / 2, p.pot_width / 2, half, 0.01), patterned(f, p))
    _back_niche(f, p, p.pot_width / 2, low + half, p.pot_width / 2 - 0.06, half - 0.05)
    _under_box(f, p, low, p.pot_width / 2 - 0.06, p.pot_width / 4 - 0.03, 0.0, -p.pot_width / 4 + 0.05)
    f.add(box(*f.at(0, -p.pot_width / 2, low + half), p.pot_width * 0.25, 0.03, half * 0.5), p.color(SECOND))
    top = low + p.pot + p.trunk
    f.add(cylinder(*f.at(0, 0, top - p.trunk / 2), 0.05, p.trunk / 2 + 0.05), p.color(PART))
    x, y, z = f.at(0, 0, top)
    crown = cone(x, y, z - p.crown / 2, p.spread, p.spread * 0.45, p.crown / 2)
    upper = cone(x, y, z - p.crown * 0.8 - p.tip / 2, p.spread * 0.75, 0.03, p.tip / 2)
    f.add(torch.minimum(crown, upper), p.color(ACCENT))


def tree_extent(p: Params) -> Extent:
    """How far a tree reaches along x, y and z."""
    low = -0.46
    half = torch.maximum(p.pot_width / 2, p.spread)
    front = torch.maximum(p.pot_width / 2 + 0.03, p.spread)
    return (-half, half), (-front, half), (low, low + p.pot + p.trunk + p.crown * 0.8 + p.tip)


def mushroom(f: Field, p: Params) -> None:
    """A stem with a door, and a cap. Hidden: a hollow under the stem, and whether the cap is hollow around it."""
    low = -0.44
    half = p.stem / 2
    f.add(cone(*f.at(0, 0, low + half), p.foot, p.foot * p.taper, half), p.color(PART))
    _under_round(f, p, low, p.foot - 0.06)
    f.add(box(*f.at(0, -p.foot + 0.02, low + 0.1), 0.07, 0.06, 0.1), p.color(ACCENT))
    x, y, z = f.at(0, 0, low + p.stem)
    cap = torch.maximum(ellipsoid(x, y, z, p.cap, p.cap, p.dome), -z - 0.02)
    gills = cylinder(x, y, z + 0.02, p.cap - 0.08, p.gill)
    ring = torch.maximum(gills, p.foot * p.taper + 0.05 - length(x, y))
    carved = torch.maximum(cap, torch.where(p.mode("gills", 1), -ring, torch.full_like(ring, -1e3)))
    color = patterned(f, p)
    if f.color is not None:
        inner = (ring < 0.005) & p.mode("gills", 1)
        color = torch.where(inner[..., None], p.color(INSIDE), color)
    f.add(carved, color)


def mushroom_extent(p: Params) -> Extent:
    """How far a mushroom reaches along x, y and z."""
    low = -0.44
    return (-p.cap, p.cap), (-p.cap, p.cap), (low, low + p.stem + p.dome)


def robot(f: Field, p: Params) -> None:
    """A body with a head, eyes, arms and legs. Hidden: niches in the back, hollows under the body."""
    half = p.body / 2
    f.add(box(*f.at(0, 0, 0.0), p.width / 2, p.depth / 2, half, 0.02), patterned(f, p))
    _back_niche(f, p, p.depth / 2, 0.0, p.width / 2 - 0.06, half - 0.06)
    _under_box(f, p, -half, p.width / 2 - 0.06, p.depth / 4 - 0.02, 0.0, -p.depth / 4 + 0.05)
    x, y, z = f.at(0, 0, half)
    f.add(box(x, y, z - p.head / 2 - 0.02, p.head * 0.6, p.head * 0.5, p.head / 2, 0.02), p.color(PART))
    eyes = sphere(x.abs() - p.head * 0.28, y + p.head * 0.5, z - p.head * 0.6 - 0.02, 0.045)
    f.add(eyes, p.color(SECOND))
    ax = f.x.abs() - p.width / 2 - 0.05
    f.add(box(ax, f.y, f.z - half + p.arm / 2, 0.045, 0.06, p.arm / 2, 0.02), p.color(ACCENT))
    leg_half = (0.46 - half) / 2
    f.add(box(f.x.abs() - p.width * 0.27, f.y, f.z + half + leg_half, p.leg, p.leg, leg_half + 0.01), p.color(ACCENT))


def robot_extent(p: Params) -> Extent:
    """How far a robot reaches along x, y and z."""
    x, front, back = p.width / 2 + 0.095, p.head * 0.5 + 0.045, p.head * 0.5
    y = -torch.maximum(p.depth / 2, front), torch.maximum(p.depth / 2, back)
    return (-x, x), y, (-0.47, p.body / 2 + p.head + 0.02)

"""Small ICC profiles for tests, and what colours are in them."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: The chromaticities (x, y) of red, green and blue, and the exponent of the curve.
SPACES = {
    "srgb": (((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)), 2.2),
    "display-p3": (((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)), 2.2),
    "adobe-rgb": (((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), 2.19921875),
    "wide": (((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)), 1.80078125),
}
_D50 = np.array([0.9642, 1, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def to_space(srgb: Any, space: str) -> list[int]:
    """The numbers (of 255) that an sRGB colour (of 255) has in a space."""
    values = np.asarray(srgb) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    there = np.linalg.solve(_matrix(space), _matrix("srgb") @ linear).clip(0, 1)
    return [round(255 * value) for value in there ** (1 / SPACES[space][1])]


def rgb_profile(space: str) -> bytes:
    """A profile of a matrix and a curve, version 2."""
    matrix, gamma = _adapted(space), SPACES[space][1]
    tags = [(b"rXYZ", _xyz(matrix[:, 0])), (b"gXYZ", _xyz(matrix[:, 1])), (b"bXYZ", _xyz(matrix[:, 2]))]
    return _profile(b"RGB ", b"XYZ ", [*tags, *((name, _curve(gamma)) for name in (b"rTRC", b"gTRC", b"bTRC"))])


def gray_profile(gamma: float) -> bytes:
    """A profile of grey with a curve."""
    return _profile(b"GRAY", b"XYZ ", [(b"kTRC", _curve(gamma))])


def cmyk_profile(corners: NDArray[np.uint8]) -> bytes:
    """A profile whose ``corners`` [2, 2, 2, 2, 3] are CIELAB of no or full cyan, magenta, yellow and black, 8 bits."""
    ramp = bytes(range(256))
    head = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + b"".join(map(_fixed, np.eye(3).ravel()))
    return _profile(b"CMYK", b"Lab ", [(b"A2B0", head + ramp * 4 + corners.tobytes() + ramp * 3)], kind=b"prtr")


def _matrix(space: str) -> Floats:
    """Linear RGB to XYZ, for a white of D65."""
    x, y = 0.3127, 0.3290
    columns = np.array([[px / py, 1, (1 - px - py) / py] for px, py in SPACES[space][0]]).T
    white = np.array([x / y, 1, (1 - x - y) / y])
    return np.asarray(columns * np.linalg.solve(columns, white), np.float64)


def _adapted(space: str) -> Floats:
    matrix = _matrix(space)
    white = matrix.sum(1)
    return np.linalg.inv(_BRADFORD) @ np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white)) @ _BRADFORD @ matrix


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _xyz(value: Floats) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(map(_fixed, value))


def _curve(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)


def _profile(space: bytes, connection: bytes, tags: list[tuple[bytes, bytes]], kind: bytes = b"mntr") -> bytes:
    text = b"test\0"
    description = b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78)
    tags = [(b"desc", description + bytes(-len(description) % 4)), (b"wtpt", _xyz(_D50)), *tags]
    table, data = struct.pack(">I", len(tags)), b""
    for name, value in tags:
        table += name + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(data), len(value))
        data += value + bytes(-len(value) % 4)
    head = struct.pack(">I4sI4s4s4s", 128 + len(table) + len(data), b"none", 0x02100000, kind, space, connection)
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + b"".join(map(_fixed, _D50))
    return head.ljust(128, b"\0") + table + data

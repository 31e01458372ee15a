"""How the small picture of an object shows it, whoever draws it: the backend a finished one, Blender a raw one.

Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

#: The name of the picture among the arrays of a result.
PORTRAIT = "portrait"
#: Pixels along each side, and the part of these that stays free at each side.
SIZE, MARGIN = 96, 0.04
#: Light falls on everything, and most on what looks to it: the brightness is ``EVEN`` + normal * ``LIGHT``.
EVEN, LIGHT = 0.75, (-0.0872, -0.1619, 0.1694)

_AZIMUTH, _ELEVATION = math.radians(30.0), math.radians(20.0)  # of the viewer; an object's front looks to -Y
_SA, _CA, _SE, _CE = math.sin(_AZIMUTH), math.cos(_AZIMUTH), math.sin(_ELEVATION), math.cos(_ELEVATION)
#: The directions right, up and away as the viewer sees them. There is no perspective.
AXES = (_CA, _SA, 0.0), (-_SA * _SE, _CA * _SE, _CE), (-_SA * _CE, _CA * _CE, -_SE)


def framing(low: Sequence[float], high: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """The factor and the shift that bring what lies between two corners, (right, up), into the picture.

    The picture is 0..1 from the left and from the bottom.
    """
    longest = max(float(above) - float(below) for below, above in zip(low[:2], high[:2], strict=True))
    factor = (1 - 2 * MARGIN) / max(longest, 1e-9)
    right, up = (
        0.5 - factor * (float(below) + float(above)) / 2 for below, above in zip(low[:2], high[:2], strict=True)
    )
    return factor, (right, up)

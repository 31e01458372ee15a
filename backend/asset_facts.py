"""What all files of an asset agree on, whoever writes them: its place and size, its material, its images' names.

Standard library only: the backend writes .glb, .obj and .ply by this, Blender the object and so its .blend and USD.
"""

from __future__ import annotations

from collections.abc import Sequence

#: The material's roughness: that of the Principled BSDF, of glTF and of .mtl's ``Pr``.
ROUGHNESS = 0.7
#: The length of the longest side where nobody chooses another, in metres.
SIZE = 1.0


def standing(low: Sequence[float], high: Sequence[float], size: float = SIZE) -> tuple[float, list[float]]:
    """The factor and the shift [3] that scale a mesh and put it on the origin.

    ``low`` and ``high`` [3] are the corners of its bounding box, z up. Its longest side becomes ``size``, and the
    centre of its bottom becomes the origin.
    """
    longest = max(float(above) - float(below) for below, above in zip(low, high, strict=True))
    factor = size / max(longest, 1e-6)
    middle = [(float(below) + float(above)) / 2 for below, above in zip(low, high, strict=True)]
    return factor, [-factor * value for value in (middle[0], middle[1], float(low[2]))]


def image_name(name: str, kind: str) -> str:
    """What the image of an asset is called. ``kind`` is ``texture``, ``normal_map`` or ``occlusion``."""
    return name + {"texture": "", "normal_map": " normal", "occlusion": " occlusion"}[kind]

"""Whether a surface is sound, and what keeps it so: ``inspect`` checks, ``mend`` repairs, ``careful`` simplifies."""

from __future__ import annotations


def warm_mending() -> None:
    """Load the machine code of mending, or compile it if there is none yet, on a small body with a needle."""
    import numpy as np

    from .careful import collapsed
    from .mend import mended

    turns = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    rim = np.stack([np.cos(turns), np.sin(turns), 0 * turns], axis=1)
    vertices = np.concatenate([rim, [[0, 0, 1], [0, 0, -1]]]).astype(np.float32)
    vertices[1] = vertices[0]
    here = np.arange(12)
    there = (here + 1) % 12
    top, bottom = np.full(12, 12), np.full(12, 13)
    faces = np.concatenate([np.stack([here, there, top], axis=1), np.stack([there, here, bottom], axis=1)])
    made = mended(vertices, faces)
    collapsed(made.vertices, made.faces, 16)

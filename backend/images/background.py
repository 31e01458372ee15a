"""Cut the object out of a photograph without alpha: directly if the background is plain, else with rembg.

rembg (https://github.com/danielgatis/rembg, MIT) is optional, the extra ``background`` of pyproject.toml. It runs
U2-Net (Qin et al. 2020, https://arxiv.org/abs/2005.09007). The weights are downloaded like any model, with a hash, into
``background-removal`` in the models folder; rembg is given that file, so that it downloads nothing itself.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import ImageError
from ..protocol import models_folder
from ..store.catalog import PUBLISHED, installed_lock
from ..store.integrity import check_file
from .cutout import MAX_SIDE, OBJECT_SHARE, background_unclear, cut_out

#: The model's name in the catalogue, and the name of its file.
MODEL, FILE = "background-removal", "u2net.onnx"

#: What to install; pyproject.toml says why not a later version.
REMBG = "rembg[cpu]==2.0.69"

#: Pixels whose alpha is more than half belong to the object.
_SOLID = 127


def remove_background(image: Image.Image, name: str) -> Image.Image:
    """An RGB image as RGBA with a transparent background. ``name`` is that of the file, for messages.

    Raises ImageError if the object cannot be told from the background, with what to install if that could help; and
    CheckpointError if the installed model is damaged.
    """
    try:
        return cut_out(image, name)
    except ImageError as error:
        missing = _missing()
        if missing:
            advice = f"install what removes any background: {' and '.join(missing)}"
            raise background_unclear(str(error), advice) from error
    return _segmented(image, models_folder() / MODEL / FILE, name)


def _missing() -> list[str]:
    """The commands that install what rembg needs, as far as it is missing."""
    commands = {
        f'python -m pip install "{REMBG}"': find_spec("rembg") is None,
        f"python -m backend download {MODEL}": installed_lock(PUBLISHED[MODEL]) is None,
    }
    return [command for command, is_missing in commands.items() if is_missing]


def _segmented(image: Image.Image, weights: Path, name: str) -> Image.Image:
    """The image with U2-Net's mask as alpha. Raises ImageError if the mask covers everything or almost nothing."""
    from rembg import new_session, remove  # takes seconds, and minutes the first time: it compiles code with numba

    check_file(weights, content=True)
    image = image.copy()
    image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    session = new_session("u2net_custom", model_path=str(weights), providers=["CPUExecutionProvider"])
    mask = remove(image, session=session, only_mask=True)
    share = float((np.asarray(mask) > _SOLID).mean())
    if not OBJECT_SHARE[0] <= share <= OBJECT_SHARE[1]:
        raise background_unclear(f"No object stands out from the background of {name}.")
    image.putalpha(mask)
    return image

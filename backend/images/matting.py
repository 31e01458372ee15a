"""Matting networks: what in an image is the object, and what is the background.

All of them are ONNX files, run by onnxruntime on the CPU. They differ by the numbers in ``NETWORKS``. U2-Net-P (Qin et
al. 2020, https://arxiv.org/abs/2005.09007) comes with Espalier. Better ones can be installed: IS-Net (Qin et al. 2022,
https://arxiv.org/abs/2203.03041) and BiRefNet (Zheng et al. 2024, https://arxiv.org/abs/2401.03407).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..config import PRETRAINED
from ..errors import CheckpointError
from ..files import sha256
from ..protocol import models_folder
from ..store.catalog import PUBLISHED, installed_lock
from ..store.integrity import check_file
from .framing import IMAGENET_MEAN, IMAGENET_STD

if TYPE_CHECKING:
    import onnxruntime

HALF, ONE = (0.5, 0.5, 0.5), (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Network:
    """A matting network, and how it is fed.

    The image is scaled to ``side`` x ``side`` pixels, whatever its proportions, as colours of 0 to 1 minus ``mean``
    over ``deviation``. The first output has a value for each pixel: a probability, or with ``logits`` its logit.
    """

    name: str  # in the catalogue; the bundled one is not in it
    path: str  # of its file, in the model's folder
    side: int
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    logits: bool
    licence: str
    mended: bool = False  # whether colour mends what it says: a fast network leaves parts out, and is lost in patterns
    sha256: str = ""  # of the bundled one; locks have those of the others

    @property
    def file(self) -> Path:
        """Where its file is, or would be."""
        return (PRETRAINED / "matting" if self.sha256 else models_folder() / self.name) / self.path

    @property
    def is_installed(self) -> bool:
        """Whether it can be used."""
        return self.file.is_file() if self.sha256 else installed_lock(PUBLISHED[self.name]) is not None

    def require_unchanged(self) -> None:
        """Raise CheckpointError if its file is not the published one any more."""
        if self.sha256 and sha256(self.file) != self.sha256:
            hint = "Install the extension again, or in a checkout run: python3.11 scripts/dev.py setup"
            raise CheckpointError(f"{self.file} was changed or damaged: its SHA-256 differs.", hint)
        check_file(self.file, content=True)


#: The network that comes with Espalier. ``scripts/matting.py`` brings it into a checkout.
SHIPPED = Network(
    name="u2netp",
    path="u2netp.onnx",
    side=320,
    mean=IMAGENET_MEAN,
    deviation=IMAGENET_STD,
    logits=False,
    licence="Apache-2.0",
    mended=True,
    sha256="309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8",
)

#: All networks, the best first.
NETWORKS = (
    Network("birefnet-lite", "onnx/model.onnx", 1024, IMAGENET_MEAN, IMAGENET_STD, logits=True, licence="MIT"),
    Network("isnet-general", "onnx/model.onnx", 1024, HALF, ONE, logits=False, licence="Apache-2.0"),
    SHIPPED,
)

#: The largest probability in an image in which no object stands out. Of 16 photographs of things it is above 0.99, of
#: textures and of a crowd 0.02 to 0.86.
FAINT = 0.9


def best() -> Network | None:
    """The best network that is installed; None if there is none, not even the bundled one."""
    return next((network for network in NETWORKS if network.is_installed), None)


def foreground(image: Image.Image, network: Network) -> np.ndarray:
    """How surely each pixel of an RGB image [H, W] belongs to the object: float32, stretched to 0..1.

    Zeros if no object stands out. Raises CheckpointError if the network cannot be used, and ImportError without
    onnxruntime.
    """
    scaled = image.resize((network.side, network.side), Image.Resampling.BILINEAR)
    found = answer(np.asarray(scaled, np.float32) / 255, network)
    return np.asarray(Image.fromarray(found).resize(image.size, Image.Resampling.BILINEAR))


def answer(pixels: np.ndarray, network: Network) -> np.ndarray:
    """What a network says [side, side] of colours [side, side, 3] in 0..1: float32, stretched to 0..1, or zeros."""
    mean, deviation = np.array(network.mean, np.float32), np.array(network.deviation, np.float32)
    found = _run(network, ((pixels - mean) / deviation).transpose(2, 0, 1)[None])
    if network.logits:
        found = 1 / (1 + np.exp(-found))
    low, high = float(found.min()), float(found.max())
    if not high > FAINT:  # not a number counts as nothing, too
        return np.zeros_like(found)
    return (found - low) / max(high - low, 1e-6)


def _run(network: Network, pixels: np.ndarray) -> np.ndarray:
    """The first output [side, side] for pixels [1, 3, side, side]. Raises CheckpointError, ImportError."""
    session = _session(network)
    try:
        output = session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(pixels, np.float32)})[0]
        return np.asarray(output, np.float32).reshape(network.side, network.side)
    except Exception as error:  # onnxruntime's own, and ValueError for another shape
        raise CheckpointError(f"The matting network {network.name} cannot be run: {error}.") from error


#: The network in memory, what it was loaded from, and who may change that: jobs and cut-outs run side by side.
_loaded: list[tuple[tuple[object, ...], onnxruntime.InferenceSession]] = []
_loading = threading.Lock()


def _session(network: Network) -> onnxruntime.InferenceSession:
    """The network, loaded unless it is in memory. Only the last one is kept. Raises CheckpointError, ImportError."""
    import onnxruntime  # lazily: a tenth of a second, and some environments lack it

    with _loading:
        status = network.file.stat()
        key = (network.file, status.st_mtime_ns, status.st_size)
        if not _loaded or _loaded[0][0] != key:
            _loaded.clear()
            network.require_unchanged()
            onnxruntime.disable_telemetry_events()  # Windows builds would write to the system's event log
            options = onnxruntime.SessionOptions()
            options.enable_mem_pattern = False  # 293 MB at most instead of 488
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # a job may be sampled meanwhile
            try:
                session = onnxruntime.InferenceSession(network.file, options, providers=["CPUExecutionProvider"])
            except Exception as error:  # onnxruntime's own
                raise CheckpointError(f"The matting network {network.name} cannot be read: {error}.") from error
            _loaded.append((key, session))
        return _loaded[0][1]

"""The model that stays in memory between jobs."""

from __future__ import annotations

import gc
import threading

import torch

from ..kept import Kept
from ..memory import give_back
from ..pipeline import Pipeline
from ..weights.folders import ModelFolder

#: Bytes of what a model has made that stay in main memory: some twelve raw objects of TRELLIS, hundreds of mini.
KEPT_BYTES = 768 << 20


class WarmModels:
    """The model that stays warm between jobs. Asking for another one releases it first, with what it has made.

    Threads may share it. ``verify`` compares the SHA-256 of downloaded weights with the recorded one whenever a model
    is loaded. ``kept_bytes`` of what the model has made stay in main memory.
    """

    def __init__(self, device: torch.device, *, verify: bool = False, kept_bytes: int = KEPT_BYTES) -> None:
        self.device = device
        self._verify = verify
        self._loaded: Pipeline | None = None
        self._key: tuple[object, ...] = ()  # what was loaded, and how
        self.kept = Kept(kept_bytes)
        self._alone = threading.RLock()

    def get(self, name: str, *, low_memory: bool = False) -> Pipeline:
        """The pipeline for a model's name or folder, reloaded if its files have changed. Raises CheckpointError."""
        folder = ModelFolder.find(name)
        key = (folder, low_memory, folder.stamp())
        with self._alone:
            if self._loaded is None or self._key != key:
                self.release()
                self._loaded = Pipeline.load(folder, self.device, low_memory=low_memory, verify=self._verify)
                self._key = key
            return self._loaded

    def release(self) -> None:
        """Free the model's memory and return it to the system: otherwise the allocators would keep it."""
        with self._alone:
            self._loaded = None
            self.kept.clear()
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            give_back()

"""What a pretended device was asked to do, counted by the line in ``backend`` that asks for it."""

from __future__ import annotations

import sys
import weakref
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

ROOT = Path(__file__).parents[2]


class Counts:
    """What was counted since the last ``clear``."""

    def __init__(self) -> None:
        self.launched: Counter[str] = Counter()
        self.waited: Counter[str] = Counter()
        self.moved: Counter[str] = Counter()
        self.computed: Counter[str] = Counter()
        self.live = 0  # bytes of memory that tensors hold
        self.peak = 0  # the most since the last ``clear``
        self._holders: Counter[int] = Counter()  # how many tensors share each piece of memory
        self._new: dict[int, int] = {}  # bytes of each piece that was not there at the last ``clear``
        self._found: dict[int, int] = {}  # of each that was there and was used since

    @property
    def launches(self) -> int:
        """All kernels launched."""
        return self.launched.total()

    @property
    def waits(self) -> int:
        """All waits of the host for the device."""
        return self.waited.total()

    @property
    def bytes(self) -> int:
        """All bytes that kernels read and write."""
        return self.moved.total()

    @property
    def operations(self) -> int:
        """All additions and multiplications of matrix products, convolutions and attention. Others are not counted."""
        return self.computed.total()

    @property
    def fewest_bytes(self) -> int:
        """Each piece of memory once that was there and was used, such as weights and inputs, or is new and still held.

        A program that keeps all else in its registers would read and write only these.
        """
        return sum(self._found.values()) + sum(self._new.values())

    def clear(self) -> None:
        """Count from zero again."""
        for each in (self.launched, self.waited, self.moved, self.computed, self._new, self._found):
            each.clear()
        self.peak = self.live

    def hold(self, tensor: Any) -> None:
        """Count the memory of a tensor on the device until the last one that shares it is gone."""
        piece, size = _piece(tensor.held)
        if not self._holders[piece]:
            self.live += size
            self.peak = max(self.peak, self.live)
            self._new[piece] = size
        self._holders[piece] += 1
        weakref.finalize(tensor, self._let_go, piece, size).atexit = False

    def _let_go(self, piece: int, size: int) -> None:
        self._holders[piece] -= 1
        if not self._holders[piece]:
            self.live -= size
            self._new.pop(piece, None)

    def launch(self, count: int = 1) -> None:
        """Count kernels for the line that runs."""
        if count:
            self.launched[line_of_backend()] += count

    def wait(self, why: str, count: int = 1) -> None:
        """Count waits for the line that runs."""
        self.waited[f"{line_of_backend()} {why}"] += count

    def compute(self, operations: int) -> None:
        """Count the operations of a product for the line that runs."""
        self.computed[line_of_backend()] += operations

    def move(self, tensors: Any) -> None:
        """Count the bytes of tensors, each once, for the line that runs."""
        values = (getattr(one, "held", one) for one in tree_leaves(tensors))
        once = {id(one): one for one in values if isinstance(one, Tensor)}
        self.moved[line_of_backend()] += sum(one.numel() * one.element_size() for one in once.values())
        pieces = dict(map(_piece, once.values()))
        self._found |= {key: size for key, size in pieces.items() if self._holders[key] and key not in self._new}


def _piece(values: Tensor) -> tuple[int, int]:
    """What tells the memory of a tensor from other memory, and how many bytes it has."""
    storage = values.untyped_storage()
    return storage._cdata, storage.nbytes()


def line_of_backend() -> str:
    """The innermost line of ``backend`` that is being run, as ``backend/sparse/tensor.py:120``."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT / "backend"):
            return f"{path.relative_to(ROOT)}:{frame.f_lineno}"
        frame = frame.f_back
    return "outside the backend"

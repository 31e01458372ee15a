"""What was computed and may be wanted again: the values used last, up to a number of bytes."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from PIL import Image

Value = TypeVar("Value")


class Kept:
    """Values by their keys. The ones that were not used for longest go first. Threads may share it.

    A value must never change. One that is larger than ``limit`` bytes is not kept, nor is one whose making fails.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._making: dict[Hashable, threading.Lock] = {}
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()  # the one that was used last is last

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of a key; made if it is not kept. If another thread is making it, waits for that."""
        with self._lock:
            alone = self._making.setdefault(key, threading.Lock())
        with alone:
            with self._lock:
                if key in self._values:
                    self._values.move_to_end(key)
                    return cast(Value, self._values[key][0])
            try:
                value = make()
                self._keep(key, value)
            finally:
                with self._lock:
                    self._making.pop(key, None)
        return value

    def __contains__(self, key: Hashable) -> bool:
        with self._lock:
            return key in self._values

    def clear(self) -> None:
        """Forget all values."""
        with self._lock:
            self._values.clear()

    def _keep(self, key: Hashable, value: object) -> None:
        with self._lock:
            self._values[key] = value, size_of(value)
            while self._values and sum(size for _, size in self._values.values()) > self._limit:
                self._values.popitem(last=False)


def image_digest(image: Image.Image) -> bytes:
    """A digest of an image's pixels."""
    return hashlib.sha256(repr((image.mode, image.size)).encode() + image.tobytes()).digest()


def size_of(value: object) -> int:
    """About how many bytes a value takes: the tensors, arrays and images in it."""
    if isinstance(size := getattr(value, "nbytes", None), int):
        return size
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return sum(size_of(getattr(value, each.name)) for each in dataclasses.fields(value))
    if isinstance(value, tuple):
        return sum(map(size_of, value))
    if callable(bands := getattr(value, "getbands", None)):
        width, height = value.size  # type: ignore[attr-defined]  # an image's
        return int(width * height * len(bands()))
    return 0


def in_main_memory(value: Value) -> Value:
    """The value with its tensors in main memory, where there is more of it than on a device."""
    if callable(cpu := getattr(value, "cpu", None)):  # torch is not imported for this: a process may do without it
        return cast(Value, cpu())
    if type(value) is tuple:
        return cast(Value, tuple(in_main_memory(each) for each in cast(tuple[Any, ...], value)))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        moved = {each.name: in_main_memory(getattr(value, each.name)) for each in dataclasses.fields(value)}
        return cast(Value, dataclasses.replace(value, **moved))
    return value

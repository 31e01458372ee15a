"""Values that are kept for some time, up to a number of bytes."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image

from backend.kept import Kept, image_digest, size_of


@dataclass(frozen=True)
class Pair:
    first: torch.Tensor
    second: np.ndarray | None


def test_a_value_is_made_once_and_the_one_unused_for_longest_goes_first() -> None:
    kept, made = Kept(100), list[str]()

    def value(name: str) -> np.ndarray:
        def make() -> np.ndarray:
            made.append(name)
            return np.zeros(40, np.uint8)

        return kept.get(name, make)

    assert value("a") is value("a")
    value("b")
    value("a")  # now b is the oldest
    value("c")
    assert made == ["a", "b", "c"]
    assert [name in kept for name in "abc"] == [True, False, True]
    kept.clear()
    assert "a" not in kept


def test_what_is_too_large_or_fails_is_not_kept() -> None:
    kept = Kept(10)
    assert len(kept.get("large", lambda: np.zeros(11, np.uint8))) == 11
    assert "large" not in kept

    def fail() -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        kept.get("bad", fail)
    assert kept.get("bad", lambda: 5) == 5


def test_threads_that_want_the_same_value_wait_for_it() -> None:
    kept, started, go_on, made = Kept(10), threading.Event(), threading.Event(), list[int]()

    def make() -> int:
        started.set()
        go_on.wait(10)
        made.append(1)
        return 7

    found: list[int] = []
    first = threading.Thread(target=lambda: found.append(kept.get("a", make)))
    second = threading.Thread(target=lambda: found.append(kept.get("a", make)))
    first.start()
    started.wait(10)
    second.start()
    go_on.set()
    first.join(10)
    second.join(10)
    assert (found, made) == ([7, 7], [1])


def test_sizes_count_tensors_arrays_and_images() -> None:
    assert size_of(Pair(torch.zeros(3), np.zeros(2, np.int64))) == 12 + 16
    assert size_of((Image.new("RGBA", (4, 2)), None, "words", 5)) == 32


def test_a_digest_tells_images_apart() -> None:
    one, wide, tall = Image.new("L", (2, 2)), Image.new("L", (4, 1)), Image.new("L", (1, 4))
    assert image_digest(one) == image_digest(one.copy())
    assert len({image_digest(image) for image in (one, wide, tall)}) == 3

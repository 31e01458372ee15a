"""What a machine must be able to do for its times to say something of the code."""

from __future__ import annotations

import mmap
import time

import pytest

PAGE, PAGES = 4096, 16384  # bytes; how many are asked for
#: Microseconds of the processor that a fresh page of memory may take. A usual machine needs half of one; a virtual one
#: whose host takes pages back needs 50, and then whatever needs memory takes many times as long.
MOST = 5.0


def page_cost() -> float:
    """Microseconds of the processor that a fresh page of memory takes here and now."""
    begun = time.thread_time()
    with mmap.mmap(-1, PAGE * PAGES) as fresh:
        for page in range(PAGES):
            fresh[page * PAGE] = 1
    return (time.thread_time() - begun) / PAGES * 1e6


def needs_quick_memory(*found: float) -> None:
    """Skip the test where fresh memory is slow. For tests that hold the processor's time to a bound.

    ``found``: what ``page_cost`` said while the times were taken; without it, it is asked now.
    """
    slowest = max(found or (page_cost(),))
    if slowest > MOST:
        pytest.skip(f"fresh memory is slow here: {slowest:.0f} us a page")

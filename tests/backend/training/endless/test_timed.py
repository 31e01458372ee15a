"""The rate of a training that ends on time."""

from __future__ import annotations

import pytest

from backend.training.endless.timed import rate_share


def test_the_rate_warms_up_by_steps_and_is_down_when_the_time_is_over() -> None:
    assert rate_share(0, 100, 0.0) == pytest.approx(0.01)
    assert rate_share(99, 100, 0.0) == 1.0
    assert rate_share(5000, 100, 0.5) == pytest.approx(0.5)
    assert rate_share(5000, 100, 1.0) == pytest.approx(0.0, abs=1e-9)
    assert rate_share(5000, 100, 1.3) == pytest.approx(0.0, abs=1e-9)

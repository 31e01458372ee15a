"""The farm against an imitation of S3 that answers 503 and breaks connections."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backend.farm import stores
from backend.farm.stores import Target
from tests.backend.farm.farms import Farm, Nodes, assert_agree, needs_ray, wait_until
from tests.backend.farm.imitation import BUCKET, CREDENTIALS, Store, imitation

pytestmark = [
    needs_ray,
    pytest.mark.skipif(importlib.util.find_spec("moto") is None, reason="needs moto: see CONTRIBUTING.md"),
]
IMAGES, DEATHS, FAULTS = 40, 3, 0.1


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(stores, "PAUSE", 0.01)
    with imitation(seed=3) as made:
        yield made


def test_what_is_written_is_whole_whatever_the_network_does(store: Store) -> None:
    store.fail(0.4)
    target = Target(store.address("out"))
    draw = random.Random(1)
    sent = {f"object {number} ü?.glb": draw.randbytes(200_000) for number in range(30)}
    sent["large.glb"] = draw.randbytes(12_000_000)
    target.put(sent)
    for name in sent:
        target.note(f"{name}.json", b"{}")
    assert {name: target.read(name) for name in sent} == sent
    assert target.sizes() == {name: len(content) for name, content in sent.items()}
    target.forget()
    assert target.own() == {}
    assert store.files("out") == sent
    assert store.unfinished() == []
    assert min(store.counts[fault] for fault in ("503", "cut before", "cut after")) > 5


def test_what_is_refused_for_good_is_not_asked_for_again(store: Store) -> None:
    target = Target(store.address("out").replace(BUCKET, "another-bucket"))
    with pytest.raises(OSError, match="another-bucket"):
        target.put({"a.glb": b"a"})
    assert store.counts["handed on"] < 4
    with pytest.raises(FileNotFoundError):
        Target(store.address("out")).read("missing.glb")


@pytest.mark.slow
def test_a_farm_from_one_prefix_to_another(
    store: Store,
    pictures: Callable[[int], Path],
    farm: Callable[..., Farm],
    nodes: Callable[[int], Nodes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A machine, workers and the driver die, while the store fails, too."""
    source = pictures(IMAGES)
    for picture in source.iterdir():
        store.put(f"pictures/{picture.name}", picture.read_bytes())
    cluster, draw = nodes(2), random.Random(11)
    store.fail(FAULTS)
    command = farm(store.address("pictures"), store.address("out"), cluster.address, **CREDENTIALS)
    process = command.start()

    def done() -> int:
        return sum(name.endswith(".glb") for name in store.files("out"))

    for when in sorted(draw.randrange(IMAGES // 3) for _ in range(DEATHS)):
        wait_until(lambda least=when: done() >= least and bool(cluster.workers()), process)  # type: ignore[misc]
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(draw.choice(cluster.workers()), signal.SIGKILL)
    wait_until(lambda: done() >= IMAGES // 3, process)
    cluster.lose(1)
    wait_until(lambda: done() >= IMAGES // 2, process)
    process.kill()
    process.communicate()
    said = command.run()
    assert f"{IMAGES} done" not in said, "what was done is done again"
    files = store.files("out")
    assert_agree(
        {path.stem for path in source.iterdir()}, files, [name for name in files if name.startswith(stores.OWN)]
    )
    assert store.unfinished() == []
    assert min(store.counts[fault] for fault in ("503", "cut before", "cut after")) > 0

"""What a run of the campaign has tried, and what came of it."""

from __future__ import annotations

import random
import resource
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from backend.errors import BackendError
from backend.protocol import ProtocolError

#: Seconds after which a trial hangs, and megabytes above what the process had at the start of its run.
MOST_SECONDS, MOST_MEGABYTES = 10.0, 1000.0
#: Seconds after which a trial that hangs is ended.
ENDED = 40
#: How many faults are named; the others are counted.
NAMED = 20

#: What counts as refused in words.
REFUSED = (BackendError, ProtocolError)


class Hung(Exception):
    """A trial did not end."""


@dataclass
class Tally:
    """The trials of one run. ``wrong`` says what was lost, wrong, hung, too large or outside, with the trial's number.

    ``enough`` ends a run: after ``wanted`` trials, or after so many ``seconds``.
    """

    name: str
    seed: int
    wanted: int
    seconds: float
    tried: int = 0
    refused: int = 0
    most_seconds: float = MOST_SECONDS
    slowest: float = 0.0
    megabytes: float = 0.0
    wrong: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # figures of this run alone

    def __post_init__(self) -> None:
        self._first, self._begin = _peak(), 0.0
        self.random = random.Random(f"{self.name} {self.seed}")

    @property
    def enough(self) -> bool:
        """Whether the run is over."""
        self._begin = self._begin or time.monotonic()  # what a run needs before its first trial does not count
        return self.tried >= self.wanted or time.monotonic() > self._begin + self.seconds

    def fault(self, what: str) -> None:
        """Count a fault that no exception tells."""
        self.wrong.append(f"{self.name} {self.tried} (seed {self.seed}): {what}")

    @contextmanager
    def trial(self, what: str = "", refused: tuple[type[Exception], ...] = REFUSED) -> Iterator[None]:
        """Count what the block does: fine, refused in words, or wrong."""
        self.tried += 1
        start = time.monotonic()
        try:
            with _ended_in_time():
                yield
        except refused as error:
            self.refused += 1
            if isinstance(error, BackendError) and error.code == "internal":
                self.fault(f"{what}: internal: {error}")
        except Hung:
            self.fault(f"{what}: did not end within {ENDED} s")
        except Exception:  # whatever else is raised is what the campaign looks for
            self.fault(f"{what}: {traceback.format_exc(limit=-3)}")
        self.cost(time.monotonic() - start, _peak() - self._first, what)

    def cost(self, seconds: float, megabytes: float, what: str = "", most: float = MOST_MEGABYTES) -> None:
        """Note what a trial took."""
        if seconds > self.most_seconds:
            self.fault(f"{what}: took {seconds:.1f} s")
        if megabytes > most and megabytes > self.megabytes:
            self.fault(f"{what}: took {megabytes:.0f} MB")
        self.slowest, self.megabytes = max(self.slowest, seconds), max(self.megabytes, megabytes)

    def row(self) -> str:
        """The run as a line of a table."""
        counts = f"{self.tried:,} | {self.refused:,} | {len(self.wrong)}"
        return f"| {self.name} | {counts} | {self.slowest:.1f} s | {self.megabytes:.0f} MB | {', '.join(self.notes)} |"


Run = Callable[[Tally], None]


def _peak() -> float:
    """The most memory that this process has had, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextmanager
def _ended_in_time() -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> None:
        raise Hung

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(ENDED)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Some bytes of a file, changed, cut off, doubled or moved."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 6)):
        if not changed:
            break
        at = chance.randrange(len(changed))
        match chance.randrange(6):
            case 0:
                changed[at] = chance.randrange(256)
            case 1:
                del changed[at:]
            case 2:
                del changed[at : at + chance.randint(1, 64)]
            case 3:
                changed[at:at] = changed[at : at + chance.randint(1, 64)] * chance.randint(1, 4)
            case 4:
                changed[at : at + 4] = chance.choice([b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\x00\x00\x00\x80"])
            case _:
                changed[at] ^= 1 << chance.randrange(8)
    return bytes(changed)


#: Values that nobody expects in JSON.
STRANGE: tuple[object, ...] = (
    *(None, True, False, 0, -1, 1 << 31, 1 << 63, 10**30, 1e308, -0.0, float("nan"), float("inf")),
    *("", "\0", "\ud800", "../../x", "/etc/passwd", "x" * 5000, [], [[]], [[[]]], {}, {"a": {}}, [1] * 5000),
)


def strange(value: object, chance: random.Random) -> object:
    """A JSON value in which something, somewhere, is not what it should be."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        key = chance.choice(list(value))
        if chance.random() < 0.1:
            return {name: one for name, one in value.items() if name != key}
        return {**value, key: strange(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.6:
        at = chance.randrange(len(value))
        return [*value[:at], strange(value[at], chance), *value[at + 1 :]]
    return chance.choice(STRANGE)

"""What became of each object: ``report.parquet``, and ``report.json`` in the form of a batch's.

A worker writes an object's files, and then its line: ``.farm/NAME.json``. Neither format can grow by a line, so from
time to time the driver writes the reports anew, and deletes the lines at the end of a run. Whoever is killed at any
moment, the reports and the lines that are newer together say what is done.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import BackendError
from ..typed_json import ProtocolError, built
from .stores import OWN, Target

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET, JSON = "report.parquet", "report.json"
#: Seconds between two reports; and their writing takes at most this share of the time.
INTERVAL, SHARE = 60.0, 0.02
#: Lines that are this much older than the report are in it: a million rows take minutes to write.
MARGIN = 3600 * 10**9


@dataclass
class Line:
    """What became of one object."""

    name: str
    images: list[str]
    fingerprint: str
    wanted: str = ""
    status: str = "pending"  # done, skipped, failed
    files: dict[str, str] = field(default_factory=dict)  # kind -> name
    sizes: dict[str, int] = field(default_factory=dict)  # kind -> bytes
    digests: dict[str, str] = field(default_factory=dict)  # kind -> SHA-256
    settings: dict[str, Any] = field(default_factory=dict)  # other than those of the command
    error: dict[str, str] | None = None  # code, message, hint
    seconds: dict[str, float] = field(default_factory=dict)  # by stage
    counts: dict[str, int] = field(default_factory=dict)
    note: str = ""

    @property
    def file(self) -> str:
        """The name of the line's own file."""
        return f"{self.name}.json"

    def text(self) -> str:
        """The line as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str | bytes) -> Line:
        """The line of such a text. Raises ProtocolError, ValueError."""
        line: Line = built(cls, json.loads(text), "a line")
        return line

    def is_whole(self, sizes: Mapping[str, int]) -> bool:
        """Whether all of its files are there, as large as they were. ``sizes`` is a listing."""
        return bool(self.files) and all(sizes.get(self.files[kind]) == size for kind, size in self.sizes.items())


class Report:
    """The lines of a target, by name."""

    def __init__(self, target: Target, settings: Mapping[str, Any]) -> None:
        self._target, self._settings = target, settings
        self.lines: dict[str, Line] = {}
        self._written, self._took = time.monotonic(), 0.0

    def load(self) -> None:
        """Read what earlier runs left. Raises OSError, and BackendError if the report is damaged."""
        try:
            self.lines = {line.name: line for line in _of_parquet(self._target.read(PARQUET))}
        except FileNotFoundError:
            self.lines = {}
        except (ValueError, ProtocolError, TypeError, KeyError) as error:  # pyarrow's own errors are ValueErrors
            words = f"{PARQUET} of an earlier run cannot be read ({error})."
            raise BackendError("report_invalid", words, "Delete it to make everything again.") from error
        since = self._target.changed(PARQUET) - MARGIN
        names = [name for name, when in self._target.own().items() if name.endswith(".json") and when > since]
        for name, content in zip(names, self._target.read_all(f"{OWN}/{name}" for name in names), strict=True):
            try:
                line = Line.read(content)
            except (ValueError, ProtocolError) as error:
                print(f"{name} is no line of a report and is passed over: {error}", file=sys.stderr)
            else:
                self.lines[line.name] = line

    def take(self, line: Line) -> None:
        """Add a line, and write the reports if it is time. Raises OSError."""
        self.lines[line.name] = line
        if time.monotonic() - self._written > max(INTERVAL, self._took / SHARE):
            self.write()

    def write(self, *, last: bool = False) -> None:
        """Write both reports. The ``last`` time, when no worker is left, delete the lines. Raises OSError."""
        begun = time.monotonic()
        lines = list(self.lines.values())
        self._target.put({PARQUET: _as_parquet(lines)})
        self._target.put({JSON: json.dumps({"settings": self._settings, "assets": list(map(asdict, lines))}).encode()})
        if last:
            self._target.forget()
        self._written = time.monotonic()
        self._took = self._written - begun


#: Columns that hold JSON: their keys differ from line to line.
_AS_JSON = ("files", "sizes", "digests", "settings", "error", "seconds", "counts")


def _schema() -> pa.Schema:
    import pyarrow as pa

    text = ("name", "wanted", "status", "fingerprint", "note", *_AS_JSON)
    return pa.schema([("images", pa.list_(pa.string())), *((name, pa.string()) for name in text)])


def _as_parquet(lines: Iterable[Line]) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    records = [asdict(line) for line in lines]
    for record in records:
        record |= {name: json.dumps(record[name]) for name in _AS_JSON}
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(records, _schema()), buffer, compression="zstd")
    return buffer.getvalue()


def _of_parquet(content: bytes) -> list[Line]:
    from pyarrow import parquet

    records = parquet.read_table(io.BytesIO(content)).to_pylist()
    return [
        built(Line, record | {name: json.loads(record[name]) for name in _AS_JSON}, "a line of the report")
        for record in records
    ]

"""From a source to the objects to make: a row for each, with its images, its settings and its name.

A source is a folder, a prefix, a pattern or a table (CSV or Parquet). Images are not read here: what changes in an
image is seen by its size and its time.
"""

from __future__ import annotations

import hashlib
import io
import json
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ..batches import objects
from ..errors import SettingsError
from ..names import asset_name, key, seen_from
from ..protocol import IMAGE_SUFFIXES, Door, InvalidSetting
from ..settings import ABOUT, Settings, names
from .report import Line
from .stores import Entry, is_folder, is_local, joined, listed, path_in, pattern, plain, read, relative, shown

TABLES = (".csv", ".parquet")
#: The columns of a table that are no settings.
IMAGE, IMAGES, NAME = "image", "images", "name"
#: What separates several views in one column of a CSV.
BETWEEN = ";"


@dataclass
class Row:
    """An object to make. What is wrong with it, if anything, is told when its turn comes."""

    wanted: str  # what it is to be called
    images: list[str]  # addresses, the front first
    settings: dict[str, Any] = field(default_factory=dict)  # other than those of the command
    problem: str = ""
    told: list[str] = field(default_factory=list)  # the images as reports have them
    name: str = ""  # what it is called
    fingerprint: str = ""  # of the images, the model and the settings: the same fingerprint means the same object

    def text(self) -> str:
        """The row as a line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str) -> Row:
        """The row of such a line."""
        return cls(**json.loads(text))

    def line(self, **more: Any) -> Line:
        """The row's line in the report."""
        return Line(self.name, self.told, self.fingerprint, self.wanted, settings=self.settings, **more)


def find(source: str, views: bool) -> tuple[list[Row], dict[str, Entry]]:
    """The rows of a source, without names, and what is known of their images. ``views`` is batch's option.

    Raises OSError, SettingsError.
    """
    if path_in(source).lower().endswith(TABLES) and "*" not in source:
        rows = _of_table(source)
        return rows, _entries(rows)
    folder, expression = pattern(source)
    if folder == source and not is_folder(source):
        raise SettingsError("images_missing", f"{shown(source)} is no folder, prefix or table.", "Check the source.")
    deep = folder != source
    entries = [entry for entry in listed(folder, deep=deep) if _is_image(entry)]
    if deep:
        entries = [entry for entry in entries if expression.fullmatch(relative(entry.address, folder))]
    by_path = {PurePosixPath(path_in(entry.address)): entry for entry in entries}
    found = objects(by_path, views)
    rows = [Row(name, [by_path[path].address for path in paths]) for name, paths in found]
    return rows, {entry.address: entry for entry in entries}


def _is_image(entry: Entry) -> bool:
    name = posixpath.basename(path_in(entry.address))
    return not name.startswith(".") and posixpath.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _of_table(source: str) -> list[Row]:
    """The rows of a CSV or Parquet table. Raises OSError, SettingsError."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    content = io.BytesIO(read(source))
    try:
        is_csv = path_in(source).lower().endswith(".csv")
        table = csv.read_csv(content) if is_csv else parquet.read_table(content)
    except pa.ArrowException as error:
        raise SettingsError("table_invalid", f"{shown(source)} cannot be read: {error}.", "Check the table.") from error
    known = names(Door.BATCH)
    allowed = {IMAGE, IMAGES, NAME, *known} - {"model"}
    if odd := [name for name in table.column_names if name not in allowed]:
        words = f"The table has columns that are not known: {', '.join(odd)}."
        raise SettingsError("table_invalid", words, f"Choose from {', '.join(sorted(allowed))}.")
    if not {IMAGE, IMAGES} & set(table.column_names):
        raise SettingsError("table_invalid", "The table has no column image or images.", "Add one.")
    base, mark, options = (source, "", "") if is_local(source) else source.partition("?")
    folder = posixpath.dirname(base) + mark + options
    return [_row(record, folder, known) for record in table.to_pylist()]


def _row(record: Mapping[str, Any], folder: str, known: Sequence[str]) -> Row:
    given = plain(record.get(IMAGES)) or plain(record.get(IMAGE)) or []
    images = [image.strip() for image in given.split(BETWEEN)] if isinstance(given, str) else [str(i) for i in given]
    addresses = [image if not is_local(image) else joined(folder, image) for image in images if image]
    settings = {name: record[name] for name in known if plain(record.get(name)) is not None}
    settings = {name: _converted(name, value) for name, value in settings.items()}
    wanted = str(plain(record.get(NAME)) or (posixpath.splitext(posixpath.basename(images[0]))[0] if images else ""))
    return Row(wanted, addresses, settings, "" if addresses else "The row has no image.")


def _converted(name: str, value: Any) -> Any:
    """A number of a table as its setting has it: tables have whole numbers as floats where one of a column is missing,
    or the other way round."""
    if ABOUT[name].kind is float and type(value) is int:
        return float(value)
    return int(value) if ABOUT[name].kind is int and type(value) is float and value.is_integer() else value


def _entries(rows: Iterable[Row]) -> dict[str, Entry]:
    """What the listings of their folders say of the images of a table. One that is not there is no one's entry."""
    found: dict[str, Entry] = {}
    folders: dict[str, None] = {}  # in their order
    for image in (image for row in rows for image in row.images):
        place, mark, options = (image, "", "") if is_local(image) else image.partition("?")
        folders[posixpath.dirname(place) + mark + options] = None
    for folder in folders:
        try:
            found |= {entry.address: entry for entry in listed(folder)}
        except FileNotFoundError:
            continue  # the rows of these images fail, and say so
    return found


@dataclass(frozen=True)
class Known:
    """What is known before the first object is made."""

    settings: Mapping[str, Any]  # of the command
    made_by: Any  # stands for the model
    endings: Sequence[str]  # of the files of an object
    earlier: Mapping[str, Line]  # of earlier runs, by name
    there: Iterable[str]  # the names of the files in the target
    target: str


def prepare(rows: Iterable[Row], entries: Mapping[str, Entry], known: Known) -> list[Row]:
    """The rows with their names, fingerprints and problems.

    An object keeps the name that it had. Another one gets a number if its name is taken, or if a file of that name is
    there which no farm made.
    """
    ready, given = [], set[str]()
    had = {(tuple(line.images), line.wanted): line.name for line in known.earlier.values()}
    free = _Numbers({key(name) for name in known.earlier}, {key(name) for name in known.there}, known.endings)
    for row in rows:
        row.problem = row.problem or _problem({**known.settings, **row.settings})
        row.told = [_told(image, known.target) for image in row.images]
        name = had.get((tuple(row.told), row.wanted), "")
        row.name = name if name and key(name) not in given else free.next(asset_name(row.wanted))
        given.add(key(row.name))
        seen = [(told, *_facts(entries.get(image))) for told, image in zip(row.told, row.images, strict=True)]
        content = json.dumps([{**known.settings, **row.settings}, known.made_by, known.endings, seen], sort_keys=True)
        row.fingerprint = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
        ready.append(row)
    return ready


def _told(image: str, target: str) -> str:
    """An image's address without keys; as a path from the target, if both are on this machine."""
    return seen_from(Path(target), image) if is_local(image) and is_local(target) else shown(image)


def _facts(entry: Entry | None) -> tuple[int, int]:
    return (0, 0) if entry is None else (entry.size, entry.changed)


def _problem(settings: dict[str, Any]) -> str:
    try:
        Settings(**settings)
    except InvalidSetting as error:
        return str(error)
    return ""


class _Numbers:
    """Gives names that nobody has: NAME, NAME-2, NAME-3. Counts on, so that a million of one name take no time."""

    def __init__(self, taken: set[str], there: set[str], endings: Sequence[str]) -> None:
        self._taken, self._there, self._endings = taken, there, endings
        self._last: dict[str, int] = {}

    def next(self, name: str) -> str:
        number = self._last.get(key(name), 0) + 1
        while not self._is_free(found := name if number == 1 else f"{name}-{number}"):
            number += 1
        self._last[key(name)] = number
        self._taken.add(key(found))
        return found

    def _is_free(self, name: str) -> bool:
        return key(name) not in self._taken and not any(key(name + end) in self._there for end in self._endings)

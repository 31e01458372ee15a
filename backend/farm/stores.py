"""Where images come from and assets go: folders of this machine, and prefixes of object stores.

An address is a path, or has a scheme: ``s3://bucket/prefix?region=eu-west-1``. pyarrow knows s3, gs and abfs, fsspec
the others. What follows the ``?`` are the file system's options, and is never part of a report.

What is refused for a while is asked for again: stores answer 503 when they are busy, and connections break.
"""

from __future__ import annotations

import functools
import posixpath
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, unquote, urlsplit

from ..errors import BackendError
from ..files import remove_left_behind, write_whole, written_together

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

#: How often something is asked for, and the seconds before the second time; each pause is twice the one before.
TRIES, PAUSE = 7, 0.2
#: Requests to an object store at once, where many files are read or deleted.
AT_ONCE = 32
#: File systems that pyarrow has itself.
NATIVE = ("file", "s3", "gs", "gcs", "abfs", "abfss")
#: Where the farm keeps what it needs to go on: see ``report``.
OWN = ".farm"
LOCK = ".farm.lock"

Value = TypeVar("Value")


class StoreUnreachable(BackendError):
    """A place that images come from or assets go to cannot be used."""


@dataclass(frozen=True)
class Entry:
    """A file as a listing shows it."""

    address: str
    size: int
    changed: int  # nanoseconds since 1970


def is_local(address: str) -> bool:
    """Whether an address is a path of this machine."""
    return "://" not in address


def joined(folder: str, name: str) -> str:
    """The address of something in a folder or prefix. ``name`` may have slashes."""
    if is_local(folder):
        return posixpath.join(folder, name)
    place, mark, options = folder.partition("?")
    return f"{place.rstrip('/')}/{quote(name)}{mark}{options}"


def shown(address: str) -> str:
    """An address as people may see it: without options, which may hold keys."""
    return address if is_local(address) else address.partition("?")[0]


def path_in(address: str) -> str:
    """The path of an address, as people write it."""
    return address if is_local(address) else unquote(urlsplit(address).path)


def read(address: str) -> bytes:
    """The content of a file. Raises OSError."""
    system, path = opened(address)

    def once() -> bytes:
        with system.open_input_stream(path) as stream:
            return bytes(stream.read())

    return insisting(once)


def listed(folder: str, *, deep: bool = False) -> list[Entry]:
    """The files in a folder or prefix, and with ``deep`` those in its folders, by name. Raises OSError."""
    from pyarrow.fs import FileSelector, FileType

    system, path = opened(folder)
    found = insisting(lambda: system.get_file_info(FileSelector(path, recursive=deep)))
    files = [info for info in found if info.type == FileType.File]
    names = [posixpath.relpath(info.path, path) if path else info.path for info in files]
    entries = [
        Entry(joined(folder, name), info.size, info.mtime_ns or 0) for name, info in zip(names, files, strict=True)
    ]
    return sorted(entries, key=lambda entry: entry.address)


def is_folder(address: str) -> bool:
    """Whether an address is a folder, or a prefix that something has. Raises OSError."""
    from pyarrow.fs import FileType

    system, path = opened(address)
    return bool(insisting(lambda: system.get_file_info(path)).type == FileType.Directory)


def opened(address: str) -> tuple[FileSystem, str]:
    """The file system of an address, and the path in it. Raises StoreUnreachable."""
    if is_local(address):
        from pyarrow.fs import LocalFileSystem

        return LocalFileSystem(), str(Path(address).absolute())
    parts = urlsplit(address)
    system, base = _connected(parts.scheme, parts.netloc, parts.query)
    return system, "/".join(filter(None, [base.rstrip("/"), unquote(parts.path).strip("/")]))


@functools.cache  # a client has connections of its own
def _connected(scheme: str, place: str, options: str) -> tuple[FileSystem, str]:
    from pyarrow.fs import FileSystem, FSSpecHandler, PyFileSystem

    if scheme == "s3" and "allow_delayed_open" not in options:
        options = "&".join(filter(None, [options, "allow_delayed_open=true"]))  # a file is one request, not three
    address = f"{scheme}://{place}" + (f"/?{options}" if options else "/")
    try:
        if scheme in NATIVE:
            system, path = FileSystem.from_uri(address)
            return system, str(path)
        from fsspec.core import url_to_fs

        system, path = url_to_fs(f"{scheme}://{place}")
        return PyFileSystem(FSSpecHandler(system)), str(path)
    except (OSError, ValueError, ImportError) as error:
        hint = "Check the address, and that the file system's package is installed where the farm runs."
        raise StoreUnreachable("store_unreachable", f"{shown(address)} cannot be opened: {error}.", hint) from error


def insisting(ask: Callable[[], Value]) -> Value:
    """What ``ask`` returns, asked again after a pause where it raises OSError. What is not there stays so."""
    for attempt in range(TRIES - 1):
        try:
            return ask()
        except (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError):
            raise
        except OSError as error:
            if _is_final(error):
                raise
            time.sleep(PAUSE * 2**attempt)
    return ask()


def _is_final(error: OSError) -> bool:
    """Whether asking again is no use. Object stores have no error numbers, only words."""
    words = ("ACCESS_DENIED", "NO_SUCH_BUCKET", "INVALID_ACCESS_KEY", "SIGNATURE_DOES_NOT_MATCH", "HTTP status 403")
    return error.errno is not None or any(word in str(error) for word in words)


# --- targets ---------------------------------------------------------------------------------------------------------


class Target:
    """A folder or a prefix that assets go to. Every file appears whole or not at all."""

    def __init__(self, address: str) -> None:
        self.address = address

    def sizes(self) -> dict[str, int]:
        """The names of the files directly in it, with their sizes; empty if it is not there. Raises OSError."""
        return {posixpath.basename(path_in(entry.address)): entry.size for entry in self._listed("")}

    def own(self) -> dict[str, int]:
        """The names of the files that the farm keeps there for itself, and when they were changed. Raises OSError."""
        return {posixpath.basename(path_in(entry.address)): entry.changed for entry in self._listed(OWN)}

    def changed(self, name: str) -> int:
        """When a file in it was changed, in nanoseconds since 1970; 0 if it is not there. Raises OSError."""
        system, path = opened(joined(self.address, name))
        return int(insisting(lambda: system.get_file_info(path)).mtime_ns or 0)

    def _listed(self, folder: str) -> list[Entry]:
        try:
            return listed(joined(self.address, folder) if folder else self.address)
        except FileNotFoundError:
            return []

    def read(self, name: str) -> bytes:
        """The content of a file in it. Raises OSError."""
        return read(joined(self.address, name))

    def read_all(self, names: Iterable[str]) -> Iterator[bytes]:
        """The content of many files, in their order. Raises OSError."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            yield from pool.map(self.read, names)

    def put(self, files: Mapping[str, bytes]) -> None:
        """Write files that belong together. In a folder, none of them appears if the disk is full. Raises OSError."""
        if not is_local(self.address):
            for name, content in files.items():
                self._send(name, content)
            return
        folder = Path(self.address)
        with written_together(*(folder / name for name in files), durable=True) as parts:
            for part, content in zip(parts, files.values(), strict=True):
                part.write_bytes(content)

    def _send(self, name: str, content: bytes) -> None:
        """Send a file to an object store, which shows it only when it has all of it. Raises OSError."""
        system, path = opened(joined(self.address, name))

        def once() -> None:
            with system.open_output_stream(path) as stream:
                stream.write(content)
            if (there := system.get_file_info(path).size) != len(content):
                raise OSError(f"{name} has {there} bytes in the store, not {len(content)}")

        insisting(once)

    def note(self, name: str, content: bytes) -> None:
        """Write a file of the farm's own. Raises OSError."""
        if is_local(self.address):
            write_whole(Path(self.address, OWN, name), content, durable=True)
        else:
            self._send(f"{OWN}/{name}", content)

    def forget(self) -> None:
        """Delete what the farm keeps there for itself, a thousand files with a request. Raises OSError."""
        system, path = opened(joined(self.address, OWN))
        insisting(lambda: system.delete_dir_contents(path, missing_dir_ok=True))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let no other farm write to this folder, and remove what a killed one left half. Object stores have no locks:
        two farms to one prefix would make the same objects twice. Raises StoreUnreachable."""
        if not is_local(self.address):
            yield
            return
        from filelock import FileLock, Timeout

        folder = Path(self.address)
        try:
            (folder / OWN).mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / LOCK, timeout=0)
            lock.acquire()
        except Timeout as error:
            hint = "Wait until it has finished, or choose another --out."
            raise StoreUnreachable("busy", f"Another farm is writing to {folder}.", hint) from error
        except OSError as error:
            words = f"{folder} cannot be written to: {error.strerror or error}."
            raise StoreUnreachable("output_failed", words, "Choose another --out.") from error
        try:
            for each in (folder, folder / OWN):
                remove_left_behind(each)
            yield
        finally:
            lock.release()


def pattern(text: str) -> tuple[str, re.Pattern[str]]:
    """The folder that a pattern begins with, and an expression for the paths in it. ``**`` stands for any folders.

    An address without ``*`` has no pattern: then the expression matches nothing.
    """
    place, mark, options = (text, "", "") if is_local(text) else text.partition("?")
    if "*" not in place:
        return text, re.compile(r"(?!)")
    before, _, after = place.partition("*")
    folder, _, begin = before.rpartition("/")
    parts = re.split(r"(\*\*/|\*)", unquote(f"{begin}*{after}") if not is_local(text) else f"{begin}*{after}")
    meaning = {"**/": "(?:[^/]+/)*", "*": "[^/]*"}
    expression = "".join(meaning.get(part, re.escape(part)) for part in parts)
    return (folder or ("/" if place.startswith("/") else ".")) + mark + options, re.compile(expression)


def relative(address: str, folder: str) -> str:
    """The path of an address, as a folder that it is in has it."""
    return posixpath.relpath(path_in(address), path_in(folder) or "/")


def plain(value: Any) -> Any:
    """A value of a table as plain Python: what is missing there is None."""
    return None if value is None or value == "" or value != value else value

"""The hub: what a model's repository holds, and its files byte for byte, resumed where they stopped.

huggingface_hub gives the API, authentication, sessions and errors. Its own download removes a part file when it ends,
whatever ended it (2.4), so that a later run cannot go on from there; files are therefore streamed here, through its
session, always from the repository's own address: a redirect to a storage server is followed anew at each try, because
such addresses expire, and the session does not send the token there. Chosen on purpose: plain HTTP and not Xet, whose
transfers cannot be resumed by offset; no cache outside the models folder, hence no symbolic links; no telemetry; the
token is ``HF_TOKEN``'s and never one that another program left in the home folder. ``HF_ENDPOINT`` names another hub.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from ..errors import ModelError
from .catalog import PublishedFile, PublishedModel

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.hf_api import RepoSibling

Result = TypeVar("Result")

DEFAULT_ENDPOINT = "https://huggingface.co"

#: Seconds before each new try after a fault that may pass. A try that brings bytes starts the series again.
WAITS = (1.0, 2.0, 4.0, 8.0)

#: The longest that the hub may ask to wait, in seconds, for it to be done without asking a person.
LONGEST_WAIT = 60.0

#: Seconds without a byte after which a connection counts as broken.
TIMEOUT = 30.0

_RESUMED = "What has arrived is kept: the same again goes on from there."


@dataclass(frozen=True)
class Offer:
    """What a source has of a model: its commit (None if unknown), and its files with size and hashes as known."""

    revision: str | None
    files: tuple[PublishedFile, ...]


class Hub:
    """A source of models. Every method raises ModelError, in words that say what to do."""

    action = "download"

    def __init__(self) -> None:
        self.endpoint = endpoint()
        address = urlsplit(self.endpoint)
        if address.scheme not in ("https", "http") or not address.hostname:
            hint = "Unset it, or set it to the address of a mirror."
            raise ModelError("endpoint_invalid", f"HF_ENDPOINT is {self.endpoint!r}, which is no https address.", hint)
        os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"  # read when the library is imported
        from huggingface_hub import HfApi
        from huggingface_hub.utils import build_hf_headers

        token = os.environ.get("HF_TOKEN", "").strip() or False  # False: no other token either
        self._api = HfApi(self.endpoint, token=token, library_name="espalier")
        self._reached = False  # whether the hub has answered yet
        self._headers = build_hf_headers(token=token, library_name="espalier") | {"Accept-Encoding": "identity"}

    def offer(self, model: PublishedModel) -> Offer:
        """What the repository holds of a model's files, of the revision that the catalogue pins."""

        def ask() -> Offer:
            try:
                info = self._api.model_info(
                    model.repository, revision=model.revision, files_metadata=True, timeout=TIMEOUT
                )
            except (ValueError, TypeError, KeyError) as error:
                hint = "A login page of the network or a proxy may have answered in its place: check them."
                raise ModelError("hub_failed", f"{self.endpoint} does not answer as a hub does.", hint) from error
            self._reached = True
            there = {file.rfilename: file for file in info.siblings or ()}
            for missing in (wanted.path for wanted in model.files if wanted.path not in there):
                raise _not_found(f"{model.repository} holds no {missing}")
            return Offer(info.sha, tuple(_offered(there[wanted.path]) for wanted in model.files))

        return self._patiently(ask, model, lambda: 0)

    def bring(
        self,
        model: PublishedModel,
        revision: str | None,
        file: PublishedFile,
        part: Path,
        on_bytes: Callable[[int], None],
    ) -> None:
        """Complete ``part``, which may hold the first bytes of a file. ``on_bytes`` gets how many there are."""
        from huggingface_hub import hf_hub_url

        url = hf_hub_url(model.repository, file.path, revision=revision, endpoint=self.endpoint)

        def arrived() -> int:
            return part.stat().st_size if part.exists() else 0

        def stream() -> None:
            if arrived() != file.size:
                self._stream(url, file, part, arrived(), on_bytes)
            if arrived() != file.size:
                raise ConnectionError(f"{file.path} ended after {arrived()} of {file.size} bytes")

        self._patiently(stream, model, arrived)

    def _stream(self, url: str, file: PublishedFile, part: Path, arrived: int, on_bytes: Callable[[int], None]) -> None:
        """One connection's worth of a file, appended to ``part``."""
        from huggingface_hub.utils import get_session, hf_raise_for_status

        headers = self._headers | ({"Range": f"bytes={arrived}-"} if arrived else {})
        with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT) as response:
            if response.status_code == 416:  # the file ends before the bytes that were asked for
                part.unlink()
                raise wrong_size(file.path)
            hf_raise_for_status(response)
            if response.status_code != 206:
                arrived = 0  # the whole file, asked for or not
            with part.open("ab" if arrived else "wb") as stream:
                for chunk in response.iter_bytes():
                    arrived += stream.write(chunk)
                    if file.size is not None and arrived > file.size:
                        break
                    on_bytes(arrived)
        if file.size is not None and arrived > file.size:
            part.unlink()
            raise wrong_size(file.path)

    def _patiently(self, attempt: Callable[[], Result], model: PublishedModel, arrived: Callable[[], int]) -> Result:
        """What ``attempt`` returns, tried again after faults that may pass, a bounded number of times in a row."""
        import httpx2  # whose errors huggingface_hub raises
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

        failures, before = 0, arrived()
        while True:
            try:
                return attempt()
            except OfflineModeIsEnabled as error:
                raise ModelError(
                    "no_network", "HF_HUB_OFFLINE forbids downloads.", "Unset it, and try again."
                ) from error
            except HfHubHTTPError as error:
                fault = self._refusal(error, model)
                wait = _asked_wait(error)
                passing = error.response.status_code in (408, 429) or error.response.status_code >= 500
                cause: Exception = error
            except (httpx2.RequestError, ConnectionError) as error:
                fault, wait, cause = self._broken(error), None, error
                passing = self._reached or not isinstance(error, httpx2.ConnectError)  # else there is no network
            failures, before = (0 if arrived() > before else failures), arrived()
            if not passing or failures == len(WAITS) or (wait or 0) > LONGEST_WAIT:
                raise fault from cause
            time.sleep(WAITS[failures] if wait is None else wait)
            failures += 1

    def _refusal(self, error: HfHubHTTPError, model: PublishedModel) -> ModelError:
        """What an HTTP status means for the person who waits for the model."""
        from huggingface_hub.errors import GatedRepoError

        status, server = error.response.status_code, error.response.url
        if status < 429 and server.netloc.decode() != urlsplit(self.endpoint).netloc:
            hint = "A firewall or proxy may block that server. Ask for access, or install from a folder with --from."
            return ModelError("storage_refused", f"{server.host} refuses the file ({status}).", hint)
        if status == 403 or isinstance(error, GatedRepoError):
            hint = f"Accept its licence at {model.page} with an account, and set HF_TOKEN to a token of that account."
            return ModelError("access_denied", f"{model.title} is given only to who has accepted its licence.", hint)
        if status == 401:
            if "authorization" in self._headers:
                hint = "Make a new one at https://huggingface.co/settings/tokens, or unset HF_TOKEN."
                return ModelError("token_refused", "The hub does not accept the token in HF_TOKEN.", hint)
            hint = "Make one at https://huggingface.co/settings/tokens and set HF_TOKEN to it."
            return ModelError("token_missing", f"The hub gives {model.title} only with an access token.", hint)
        if status == 404:
            return _not_found(f"{model.repository} is not what it was at {model.revision}")
        if status == 429:
            wait = _asked_wait(error)
            hint = f"Try again {f'in {wait:.0f} seconds' if wait else 'later'}; with HF_TOKEN set the hub allows more."
            return ModelError("rate_limited", "The hub has had too many requests from here.", f"{hint} {_RESUMED}")
        if status >= 500:
            return ModelError(
                "hub_failed", f"The hub has a fault of its own ({status}).", f"Try again later. {_RESUMED}"
            )
        return ModelError("hub_failed", f"The hub answered with status {status}.", "Try again later.")

    def _broken(self, error: Exception) -> ModelError:
        if self._reached:
            words = f"The connection to {self.endpoint} broke again and again ({error})."
            return ModelError("connection_broken", words, f"Check the network. {_RESUMED}")
        hint = "Check the network and the proxy settings, or install from a folder with --from."
        return ModelError("no_network", f"{self.endpoint} cannot be reached ({error}).", hint)


def endpoint() -> str:
    """The hub's address, without a slash at its end."""
    return (os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")


def _offered(file: RepoSibling) -> PublishedFile:
    """What the hub says of a file: of those in large file storage the SHA-256, of the others git's hash."""
    sha256 = file.lfs.sha256 if file.lfs else None
    if file.size is None or not (sha256 or file.blob_id):
        hint = "A mirror in HF_ENDPOINT may leave that out: unset it."
        raise ModelError("unverifiable", f"The hub does not say what {file.rfilename} must be like.", hint)
    return PublishedFile(file.rfilename, file.size, sha256, None if sha256 else file.blob_id)


def wrong_size(path: str) -> ModelError:
    """A file is longer or shorter than it should be."""
    return ModelError("size_wrong", f"{path} has not the size that was published.", "Try again, from another source.")


def _not_found(what: str) -> ModelError:
    hint = "There may be a newer Espalier that knows where it went. A mirror in HF_ENDPOINT may lack it."
    return ModelError("not_found", f"{what}.", hint)


def _asked_wait(error: HfHubHTTPError) -> float | None:
    """How many seconds the hub asks to wait; None if it does not say."""
    from huggingface_hub.utils import parse_ratelimit_headers

    limit = parse_ratelimit_headers(error.response.headers)
    if limit is not None and limit.remaining == 0:
        return float(limit.reset_in_seconds)
    asked = error.response.headers.get("Retry-After", "")
    return float(asked) if asked.isdecimal() else None

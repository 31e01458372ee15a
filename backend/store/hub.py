"""The hub: what a model's repository holds, and its files byte for byte, resumed where they stopped.

huggingface_hub provides the API, authentication, sessions and errors. Its own download (2.4) deletes the partial file
however it ends, so a later run could not resume. Files therefore come through ``transfer``, over its session, always
from the repository's own address. Each try follows the redirect to a storage server again, because such addresses
expire, and the session does not send the token there. Some choices are deliberate: plain HTTP and not Xet, whose
transfers cannot be resumed by offset; no cache outside the models folder, hence no symbolic links; no telemetry; the
token from ``HF_TOKEN`` and never one that another program left in the home folder. ``HF_ENDPOINT`` names another hub.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..errors import StoreError
from . import bounds, transfer
from .catalog import PublishedModel
from .transfer import RESUMED, Expected, Fault, OnBytes, Origin, asked_wait, may_pass, patiently

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.hf_api import RepoSibling

#: A SHA-256 or git's SHA-1.
_HASH = re.compile(r"[0-9a-f]{64}|[0-9a-f]{40}")

DEFAULT_ENDPOINT = "https://huggingface.co"


@dataclass(frozen=True)
class Offer:
    """What a source has of a model: its commit (None if unknown), and its files with their hashes if known."""

    revision: str | None
    files: tuple[Expected, ...]


class Hub:
    """A source of models: a hub on the network. Every method raises StoreError, with a hint that says what to do."""

    action = "download"

    def __init__(self) -> None:
        self.endpoint = endpoint()
        address = urlsplit(self.endpoint)
        if address.scheme not in ("https", "http") or not address.hostname:
            hint = "Unset it, or set it to the address of a mirror."
            raise StoreError("endpoint_invalid", f"HF_ENDPOINT is {self.endpoint!r}, not a web address.", hint)
        os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"  # read when the library is imported
        from huggingface_hub import HfApi
        from huggingface_hub.utils import build_hf_headers

        token = os.environ.get("HF_TOKEN", "").strip() or False  # False: do not look for another token
        _bound_answers()
        self._api = HfApi(self.endpoint, token=token, library_name="espalier")
        self._reached = False  # whether the hub has answered yet
        self._headers = build_hf_headers(token=token, library_name="espalier")

    def offer(self, model: PublishedModel) -> Offer:
        """What the repository holds of a model's files, at the revision that the catalogue pins."""

        def ask() -> Offer:
            try:
                info = self._api.model_info(
                    model.repository, revision=model.revision, files_metadata=True, timeout=transfer.TIMEOUT
                )
                there = {file.rfilename: file for file in info.siblings or ()}
                if not isinstance(info.sha, str | None) or not all(isinstance(name, str) for name in there):
                    raise TypeError("its names are no texts")
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                hint = "The network's login page or a proxy may have answered instead. Check both."
                raise StoreError("hub_failed", f"The answer of {self.endpoint} is not a hub's.", hint) from error
            self._reached = True
            for missing in (wanted.path for wanted in model.files if wanted.path not in there):
                raise _not_found(f"{model.repository} does not contain {missing}")
            return Offer(info.sha, tuple(_offered(there[wanted.path]) for wanted in model.files))

        return patiently(ask, lambda error: self._explain(error, model))

    def bring(self, model: PublishedModel, revision: str | None, file: Expected, part: Path, on_bytes: OnBytes) -> None:
        """Complete ``part``, which may hold the first bytes of a file. ``on_bytes`` gets how many bytes there are."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import get_session, hf_raise_for_status

        url = hf_hub_url(model.repository, file.name, revision=revision, endpoint=self.endpoint)
        origin = Origin(get_session(), lambda error: self._explain(error, model), self._headers, hf_raise_for_status)
        transfer.download(origin, lambda: url, file, part, on_bytes)

    def _explain(self, error: Exception, model: PublishedModel) -> Fault | None:
        import httpx2  # whose errors huggingface_hub raises
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

        if isinstance(error, OfflineModeIsEnabled):
            hint = "Unset it, and try again."
            return Fault(StoreError("no_network", "HF_HUB_OFFLINE forbids downloads.", hint), passing=False)
        if isinstance(error, HfHubHTTPError):
            return Fault(self._refusal(error, model), may_pass(error.response.status_code), _asked_wait(error))
        if isinstance(error, (httpx2.RequestError, ConnectionError)):
            passing = self._reached or not isinstance(error, httpx2.ConnectError)  # otherwise there is no network
            return Fault(self._broken(error), passing)
        return None

    def _refusal(self, error: HfHubHTTPError, model: PublishedModel) -> StoreError:
        """What an HTTP status means, for the person who waits for the model."""
        from huggingface_hub.errors import GatedRepoError

        status, server = error.response.status_code, error.response.url
        if status < 429 and server.netloc.decode() != urlsplit(self.endpoint).netloc:
            hint = "A firewall or proxy may block that server. Ask for access, or install from a folder with --from."
            return StoreError("storage_refused", f"{server.host} refuses the file ({status}).", hint)
        if status == 403 or isinstance(error, GatedRepoError):
            hint = f"Accept its license at {model.page} with an account, and set HF_TOKEN to a token of that account."
            hint = model.access or hint
            return StoreError("access_denied", f"{model.title} is only for users who have accepted its license.", hint)
        if status == 401:
            if "authorization" in self._headers:
                hint = "Make a new one at https://huggingface.co/settings/tokens, or unset HF_TOKEN."
                return StoreError("token_refused", "The hub does not accept the token in HF_TOKEN.", hint)
            hint = model.access or "Make one at https://huggingface.co/settings/tokens and set HF_TOKEN to it."
            return StoreError("token_missing", f"The hub gives {model.title} only with an access token.", hint)
        if status == 404:
            return _not_found(f"The hub has no {model.repository} at revision {model.revision}")
        if status == 429:
            wait = _asked_wait(error)
            hint = f"Try again {f'in {wait:.0f} seconds' if wait else 'later'}. With HF_TOKEN set, the hub allows more."
            return StoreError("rate_limited", "The hub has had too many requests from here.", f"{hint} {RESUMED}")
        if status >= 500:
            return StoreError("hub_failed", f"The hub itself has a problem ({status}).", f"Try again later. {RESUMED}")
        return StoreError("hub_failed", f"The hub answered with status {status}.", "Try again later.")

    def _broken(self, error: Exception) -> StoreError:
        if self._reached:
            words = f"The connection to {self.endpoint} failed repeatedly ({error})."
            return StoreError("connection_broken", words, f"Check the network. {RESUMED}")
        hint = "Check the network and the proxy settings, or install from a folder with --from."
        return StoreError("no_network", f"{self.endpoint} cannot be reached ({error}).", hint)


def _bound_answers() -> None:
    """Bound what huggingface_hub's session reads, in bytes and time."""
    from huggingface_hub.utils import get_session

    session = get_session()
    hooks = session.event_hooks
    if bounds.limit not in hooks["response"]:
        session.event_hooks = {**hooks, "response": [*hooks["response"], bounds.limit]}


def endpoint() -> str:
    """The hub's address, without a slash at its end."""
    return (os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")


def _offered(file: RepoSibling) -> Expected:
    """What the hub says about a file: the SHA-256 if it is in large file storage, else git's hash."""
    sha256 = file.lfs.sha256 if file.lfs else None
    stated = sha256 or file.blob_id
    if not isinstance(file.size, int) or file.size < 0 or not isinstance(stated, str) or not _HASH.fullmatch(stated):
        hint = "A mirror in HF_ENDPOINT may leave them out: unset it."
        raise StoreError("unverifiable", f"The hub does not state the size and hash of {file.rfilename}.", hint)
    return Expected(file.rfilename, file.size, sha256, None if sha256 else file.blob_id)


def _not_found(what: str) -> StoreError:
    hint = "A newer Espalier may know its new place. A mirror in HF_ENDPOINT may lack it."
    return StoreError("not_found", f"{what}.", hint)


def _asked_wait(error: HfHubHTTPError) -> float | None:
    """How many seconds the hub asks to wait; None if it does not say."""
    from huggingface_hub.utils import parse_ratelimit_headers

    limit = parse_ratelimit_headers(error.response.headers)
    if limit is not None and limit.remaining == 0:
        return float(limit.reset_in_seconds)
    return asked_wait(error.response.headers)

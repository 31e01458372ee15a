"""Which wheels a build without a lock is made of, and which hashes are believed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from backend.errors import StoreError
from backend.store import bounds, transfer, unlocked
from backend.store.index import Listed, list_files
from backend.store.unlocked import FolderPlace, IndexPlace, resolve, tail
from tests.fakes.package_index import FakeIndex, make_wheel, serve_index

DIGEST = "ab" * 32


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeIndex]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(transfer, "WAITS", (0.0,))
    with serve_index() as server:
        yield server


@pytest.fixture
def place(index: FakeIndex) -> Iterator[IndexPlace]:
    with httpx2.Client(event_hooks={"response": [bounds.limit]}) as client:
        yield IndexPlace(client, [f"{index.torch_url}/cu126"])


def fill(index: FakeIndex, *wheels: tuple[str, bytes]) -> None:
    index.files = dict(wheels)


def nothing(name: str) -> str | None:
    return None


def names(wheels: list[unlocked.Wheel]) -> dict[str, str]:
    return {wheel.name: wheel.version for wheel in wheels}


def page(answer: Callable[[httpx2.Request], httpx2.Response], address: str = "https://index.example") -> list[Listed]:
    with httpx2.Client(transport=httpx2.MockTransport(answer), follow_redirects=True) as client:
        return list_files(client, address, "torch")


def html(content: str) -> httpx2.Response:
    return httpx2.Response(200, text=content, headers={"Content-Type": "text/html"})


# --- hashes ----------------------------------------------------------------------------------------------------------


def test_only_the_links_own_hash_counts() -> None:
    lines = (
        f'<a href="/whl/torch-1.0%2Bcu126.whl#sha256={DIGEST}" data-core-metadata="sha256={"cd" * 32}">x</a>',
        f'<a href="/whl/torch-2.0.whl" data-dist-info-metadata="sha256={DIGEST}" data-core-metadata="true">x</a>',
        f'<a href="/whl/torch-3.0.whl#md5={DIGEST}">x</a>',
        '<a href="/whl/torch-4.0.whl#sha256=abc">x</a>',
    )
    found = page(lambda request: html("".join(lines)))
    assert [file.sha256 for file in found] == [DIGEST, None, None, None]
    assert found[0].file == "torch-1.0+cu126.whl"
    answer = {"files": [{"filename": "a.whl", "url": "a.whl", "hashes": {}, "core-metadata": {"sha256": DIGEST}}]}
    assert page(lambda request: httpx2.Response(200, json=answer))[0].sha256 is None


def test_a_hash_that_came_in_the_clear_is_refused() -> None:
    answer = html(f'<a href="https://index.example/torch-1.0.whl#sha256={DIGEST}">x</a>')
    (clear,) = page(lambda request: answer, "http://index.example")
    assert (clear.sha256, clear.private) == (DIGEST, False)
    (secret,) = page(lambda request: answer)
    assert secret.private
    with httpx2.Client() as client:
        place = IndexPlace(client, ["http://index.example"])
        with pytest.raises(StoreError, match="over a secure connection") as caught:
            place.hash_of(clear)
        assert caught.value.code == "hash_missing"
        assert place.hash_of(secret) == DIGEST


def test_one_redirect_in_the_clear_is_enough() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/torch/":
            return httpx2.Response(302, headers={"Location": "http://index.example/clear"})
        if request.url.path == "/clear":
            return httpx2.Response(302, headers={"Location": "https://index.example/again"})
        return html(f'<a href="torch-1.0.whl#sha256={DIGEST}">x</a>')

    assert not page(answer)[0].private


@pytest.mark.parametrize("content", ["[]", "{}", '{"files": 3}', '{"files": [{}]}', "[" * 100_000, "nonsense"])
def test_an_answer_that_is_no_index_is_said(content: str) -> None:
    with pytest.raises(StoreError, match="is not a package index's"):
        page(lambda request: httpx2.Response(200, text=content, headers={"Content-Type": "application/json"}))


def test_a_recorded_hash_must_still_be_the_same(index: FakeIndex, place: IndexPlace) -> None:
    wheel = make_wheel("torch", "1.0+cu126", {})
    fill(index, wheel)
    digest = hashlib.sha256(wheel[1]).hexdigest()
    assert resolve("1.0+cu126", place, {wheel[0]: digest}, nothing)[0].sha256 == digest
    with pytest.raises(StoreError, match="another file than the one that was installed before") as caught:
        resolve("1.0+cu126", place, {wheel[0]: DIGEST}, nothing)
    assert caught.value.code == "hash_missing"


# --- which wheels ----------------------------------------------------------------------------------------------------


def test_what_torch_needs_in_turn(index: FakeIndex, place: IndexPlace) -> None:
    needs = ("toolkit[blas,fft]==13.*", "jinja2", 'elsewhere==1 ; python_version < "3"', "Old_Name==2.0")
    fill(
        index,
        make_wheel("torch", "1.0+cu126", {"torch.py": b"x" * 1000}, needs),
        make_wheel("torch", "1.1+cu126", {}),
        make_wheel("toolkit", "12.9", {}),
        make_wheel("toolkit", "13.0", {}),
        make_wheel("toolkit", "13.1", {}, ('blas==1 ; extra == "blas"', 'fft==1 ; extra == "fft"', 'x ; extra == "y"')),
        make_wheel("toolkit", "14.0", {}),
        make_wheel("blas", "1", {}, ("toolkit",)),
        make_wheel("fft", "1", {}),
        make_wheel("old_name", "2.0", {}),
    )
    index.files["toolkit-13.2.tar.gz"] = b"a source distribution"
    found = resolve("1.0+cu126", place, {}, {"jinja2": "3.1.6", "torch": "9"}.get)
    assert names(found) == {"torch": "1.0+cu126", "toolkit": "13.1", "blas": "1", "fft": "1", "old-name": "2.0"}
    torch = next(wheel for wheel in found if wheel.name == "torch")
    assert torch.size == len(index.files[torch.file])
    assert torch.unpacked >= 1000


def test_an_installed_package_of_another_version_does_not_do(index: FakeIndex, place: IndexPlace) -> None:
    fill(index, make_wheel("torch", "1.0+cu126", {}, ("sympy==2",)), make_wheel("sympy", "2", {}))
    assert names(resolve("1.0+cu126", place, {}, {"sympy": "1"}.get)) == {"torch": "1.0+cu126", "sympy": "2"}


def test_packages_that_contradict_each_other(index: FakeIndex, place: IndexPlace) -> None:
    fill(
        index,
        make_wheel("torch", "1.0+cu126", {}, ("a", "b==1")),
        make_wheel("a", "1", {}, ("b==2",)),
        make_wheel("b", "1", {}),
        make_wheel("b", "2", {}),
    )
    with pytest.raises(StoreError, match=r"needs b==[12], but also b [12]"):
        resolve("1.0+cu126", place, {}, nothing)


def test_a_wheel_for_another_system_is_not_taken(index: FakeIndex, place: IndexPlace) -> None:
    name, content = make_wheel("torch", "1.0+cu126", {})
    index.files = {name.replace("py3-none-any", "cp39-cp39-solaris_9_sparc"): content}
    with pytest.raises(StoreError, match=r"has no torch==1\.0\+cu126 for this system"):
        resolve("1.0+cu126", place, {}, nothing)


@pytest.mark.parametrize("content", [b"no zip", make_wheel("torch", "1.0+cu126", {})[1][:-30]])
def test_what_is_no_wheel(index: FakeIndex, place: IndexPlace, content: bytes) -> None:
    index.files = {make_wheel("torch", "1.0+cu126", {})[0]: content}
    with pytest.raises(StoreError, match="is not a wheel"):
        resolve("1.0+cu126", place, {}, nothing)


def test_a_server_that_sends_the_whole_is_not_read() -> None:
    whole = httpx2.Response(200, content=bytes(1000))
    with (
        httpx2.Client(transport=httpx2.MockTransport(lambda request: whole)) as client,
        pytest.raises(StoreError, match="cannot send parts"),
    ):
        tail(client, "https://index.example/torch.whl")


def test_torchs_own_index_is_asked_first(index: FakeIndex) -> None:
    """Anybody can register a name on another one."""
    asked: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.host)
        return html(f'<a href="triton-1.0-py3-none-any.whl#sha256={DIGEST}">x</a>')

    with httpx2.Client(transport=httpx2.MockTransport(answer)) as client:
        place = IndexPlace(client, ["https://torch.example/cu126", "https://pypi.example/simple"])
        assert place.files("triton")[0].url.startswith("https://torch.example/")
    assert asked == ["torch.example"]


def test_who_stated_the_hashes_is_said() -> None:
    """Where torch's own index does not answer, a mirror that was chosen does, and is named."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.host == "torch.example":
            raise httpx2.ConnectError("no way there")
        return html(f'<a href="torch-1.0-py3-none-any.whl#sha256={DIGEST}">x</a>')

    with (
        pytest.MonkeyPatch.context() as patch,
        httpx2.Client(transport=httpx2.MockTransport(answer)) as client,
    ):
        patch.setattr(transfer, "WAITS", (0.0,))
        place = IndexPlace(client, ["https://torch.example/cu126", "https://mirror.example/simple"])
        assert place.title == "torch.example"
        assert place.files("torch")[0].sha256 == DIGEST
        assert place.title == "mirror.example"
        assert place.problem is not None


def test_a_folder_vouches_for_its_wheels(tmp_path: Path) -> None:
    wheel = make_wheel("torch", "1.0+cu126", {})
    (tmp_path / wheel[0]).write_bytes(wheel[1])
    (found,) = resolve("1.0+cu126", FolderPlace(tmp_path), {}, nothing)
    assert (found.sha256, found.size) == (hashlib.sha256(wheel[1]).hexdigest(), len(wheel[1]))
    with pytest.raises(StoreError, match="has no torch==2"):
        resolve("2.0+cu126", FolderPlace(tmp_path), {}, nothing)


def test_the_record_of_hashes_that_is_damaged_stops_the_download(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from backend.__main__ import main

    packages = {"torch": {}, "unlocked": {"cu126": {"version": "1.0+cu126", "size": 1, "unpacked": 1}}}
    (tmp_path / "packages.json").write_text(json.dumps(packages))
    (tmp_path / "hashes.json").write_text("[")
    command = ["fetch", str(tmp_path / "packages.json"), "cu126", "--to", str(tmp_path)]
    assert main([*command, "--recorded", str(tmp_path / "hashes.json")]) == 1
    assert "cannot be read" in capsys.readouterr().out

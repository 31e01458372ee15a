"""The installation through proxies, with a company's certificates, on slow lines, and without a Python."""

from __future__ import annotations

import io
import os
import shutil
import ssl
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from espalier.blender_addon.server.environment import Packages
from espalier.blender_addon.server.install import Installer, State
from espalier.blender_addon.server.plan import Options

from tests.fakes.installing import install
from tests.fakes.package_index import FakeIndex, Fault, serve_index
from tests.fakes.tiny_extension import make_extension, torch_wheel

pytest.importorskip("uv", reason="the installer carries uv, which this Python lacks")

TORCH = torch_wheel()
NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir")


@pytest.fixture(scope="module")
def extension(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_extension(tmp_path_factory.mktemp("extension") / "espalier", TORCH)


@pytest.fixture
def index() -> Iterator[FakeIndex]:
    with serve_index() as server:
        server.files[TORCH[0]] = TORCH[1]
        yield server


def make_installer(folder: Path, extension: Path, **environ: str) -> Installer:
    """An installer in a Blender with these environment variables, and none of this machine's for the network."""
    packages = Packages.read(extension)
    assert packages is not None
    clean: Mapping[str, str] = {name: value for name, value in os.environ.items() if name.lower() not in NAMES}
    return Installer(folder, extension, packages, {**clean, **environ})


def test_through_a_proxy(extension: Path, index: FakeIndex, tmp_path: Path) -> None:
    """The index's name exists nowhere: only the proxy can answer for it."""
    proxy = index.url.removesuffix("/simple")
    installer = make_installer(tmp_path / "user", extension, HTTP_PROXY=proxy.replace("//", "//anna:secret@"))
    assert install(installer, Options(sys.executable, "http://packages.invalid/simple")) is State.READY, (
        installer.status()
    )
    log = installer.folders.log.read_text()
    assert f"through the proxy {proxy.removeprefix('http://')}" in log
    assert "secret" not in log
    alone = make_installer(tmp_path / "alone", extension)
    assert install(alone, Options(sys.executable, "http://packages.invalid/simple")) is State.FAILED
    assert "proxy settings" in alone.status().hint


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_a_companys_certificates(extension: Path, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "company.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=company"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serve_index(context) as index:
        index.files[TORCH[0]] = TORCH[1]
        options = Options(sys.executable, index.url)
        stranger = make_installer(tmp_path / "stranger", extension)
        assert install(stranger, options) is State.FAILED
        assert "certificate" in stranger.status().text
        assert "SSL_CERT_FILE" in stranger.status().hint
        assert index.asked == []
        colleague = make_installer(tmp_path / "colleague", extension, SSL_CERT_FILE=str(certificate))
        assert install(colleague, options) is State.READY, colleague.status()
        assert f"with the certificates in {certificate}" in colleague.folders.log.read_text()


def test_blenders_time_out_is_kept(extension: Path, index: FakeIndex, tmp_path: Path) -> None:
    """A server that is silent for longer is asked again, from where it stopped."""
    index.faults = [Fault(times=1, pause=3.0)]
    installer = make_installer(tmp_path / "user", extension)
    assert install(installer, Options(sys.executable, index.url, timeout=1)) is State.READY, installer.status()
    assert [asked for _, asked in index.asked] == [None, "bytes=4096-"]
    assert "1 seconds (Blender's preferences)" in installer.folders.log.read_text()


def test_another_python_than_uv_knows_is_refused(extension: Path, index: FakeIndex, tmp_path: Path) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("python/bin/python3.11"))
    index.anything = content.getvalue()
    mirror = index.url.replace("/simple", "/mirror")
    installer = make_installer(tmp_path / "user", extension, UV_PYTHON_INSTALL_MIRROR=mirror)
    assert install(installer, Options(index=index.url)) is State.FAILED
    assert installer.status().text == "The downloaded Python 3.11 is not the one that uv knows."
    assert not list(installer.folders.interpreters.glob("cpython*"))


def test_a_python_that_cannot_be_downloaded(extension: Path, index: FakeIndex, tmp_path: Path) -> None:
    installer = make_installer(tmp_path / "user", extension, UV_PYTHON_INSTALL_MIRROR="http://127.0.0.1:9/mirror")
    assert install(installer, Options(index=index.url)) is State.FAILED
    assert installer.status().text == "Python 3.11 could not be downloaded."

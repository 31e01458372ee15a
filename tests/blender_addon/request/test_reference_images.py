"""Reference images of every kind, as they go to the backend."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from espalier import blender_addon
from espalier.backend.files import MAX_PICTURE
from espalier.blender_addon import pump
from espalier.blender_addon.jobs.inputs import ImageFile, InputWriter, Pixels, encode_bmp
from espalier.blender_addon.request import generate, images

from tests.fakes.fake_backend import paint, write_png
from tests.machine import needs_quick_memory


def opened(path: str | Path) -> Any:
    """The image in a file, as another program reads it."""
    return pytest.importorskip("PIL.Image", reason="it takes Pillow to read it, which this Python lacks").open(path)


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Any]:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    blender_addon.register()
    yield bpy.context.scene.espalier
    blender_addon.unregister()


def file(tmp_path: Path, name: str = "mug.png") -> str:
    write_png(tmp_path / name, 32, paint)
    return str(tmp_path / name)


def laid_out(settings: Any, folder: Path) -> tuple[str, ...]:
    paths, files = images.as_files(images.collect(settings), folder)
    folder.mkdir(exist_ok=True)
    writer = InputWriter(files)
    writer.run()
    assert writer.error is None
    return paths


def test_files(settings: Any, tmp_path: Path) -> None:
    files = [{"name": name} for name in ("front.png", "back.jpg")]
    for _ in range(2):  # a second time they are already there
        bpy.ops.espalier.add_images("EXEC_DEFAULT", directory=str(tmp_path), files=files)
    both = [str(tmp_path / "front.png"), str(tmp_path / "back.jpg")]
    assert [images.original(item) for item in settings.images] == both
    assert [images.title(item) for item in settings.images] == ["front.png", "back.jpg"]
    bpy.ops.espalier.move_image(index=0, by=1)
    assert [images.original(item) for item in settings.images] == both[::-1]
    assert bpy.ops.espalier.move_image(index=0, by=-1) == {"CANCELLED"}
    bpy.ops.espalier.remove_image(index=0)
    assert [images.original(item) for item in settings.images] == both[:1]
    assert bpy.ops.espalier.remove_image(index=3) == {"CANCELLED"}
    assert laid_out(settings, tmp_path) == (both[0],)  # which does not exist: the backend says so
    assert images.is_missing(settings.images[0])
    bpy.ops.espalier.add_images("EXEC_DEFAULT", directory=str(tmp_path), files=[{"name": "mug.png"}], replace=True)
    assert [images.title(item) for item in settings.images] == ["mug.png"]


def test_an_image_that_was_loaded_goes_by_its_file(settings: Any, tmp_path: Path) -> None:
    path = file(tmp_path)
    image = bpy.data.images.load(path)
    bpy.ops.espalier.add_image(image=image.name)
    assert images.title(settings.images[0]) == "mug.png"
    assert not images.is_missing(settings.images[0])
    (written,) = laid_out(settings, tmp_path / "job")
    assert Path(written).read_bytes() == Path(path).read_bytes()


def test_a_file_goes_as_it_is_when_the_button_is_pressed(settings: Any, tmp_path: Path) -> None:
    path = Path(file(tmp_path, "a mug, " + 90 * "m" + ".png"))
    content = path.read_bytes()
    images.add_source(settings, str(path))
    paths, files = images.as_files(images.collect(settings), tmp_path / "job")
    path.unlink()  # before the thread that copies it has begun
    (tmp_path / "job").touch()
    failed = InputWriter(files)
    failed.run()
    assert failed.error is not None
    (tmp_path / "job").unlink()
    (tmp_path / "job").mkdir()
    again = InputWriter(failed.files)
    again.run()
    assert again.error is None
    assert Path(paths[0]).read_bytes() == content
    assert Path(paths[0]).name == "a mug, " + 73 * "m" + ".png"


def overwritten(path: Path, content: bytes) -> None:
    """As programs do that write into the file that is there, some time later."""
    with path.open("r+b") as stream:
        stream.write(content)
        stream.truncate()
    os.utime(path, ns=(0, 1))


@pytest.mark.parametrize("content", [b"short", bytes(100_000)])
def test_a_file_that_is_overwritten_before_it_is_copied_is_not_taken_for_what_it_was(
    settings: Any, tmp_path: Path, content: bytes
) -> None:
    path = Path(file(tmp_path))
    images.add_source(settings, str(path))
    paths, files = images.as_files(images.collect(settings), tmp_path / "job")
    overwritten(path, content)
    writer = InputWriter(files)
    writer.run()
    assert writer.error is not None
    assert (writer.error.code, writer.error.hint) == ("image_changed", "Try again.")
    assert "mug.png was changed" in writer.error.message
    assert not Path(paths[0]).exists()


def test_a_file_that_is_overwritten_after_the_press_is_of_no_matter(settings: Any, tmp_path: Path) -> None:
    """The press waits for images of a usual size, and never longer than half a frame."""
    path = Path(file(tmp_path))
    content = path.read_bytes()
    images.add_source(settings, str(path))
    settings.variants = 4
    new = generate.new_jobs(bpy.context)
    pump.submit(*new)
    overwritten(path, b"something else")
    for job in new:
        assert job.writer is not None
        job.writer.join()
        assert job.writer.error is None
        assert Path(job.request.images[0]).read_bytes() == content
    pump.jobs.close()


def test_jobs_of_one_press_share_the_copy(settings: Any, tmp_path: Path) -> None:
    images.add_source(settings, file(tmp_path))
    pictures = images.collect(settings)
    copies = []
    for number in range(3):
        paths, files = images.as_files(pictures, tmp_path / f"job {number}")
        InputWriter(files).run()
        copies.append(Path(paths[0]))
    assert len({copy.stat().st_ino for copy in copies}) == 1
    copies[0].unlink()
    paths, files = images.as_files(pictures, tmp_path / "last")
    writer = InputWriter(files)
    writer.run()
    assert writer.error is None
    assert Path(paths[0]).read_bytes() == copies[1].read_bytes()


def test_a_large_file_does_not_hold_up_the_press(settings: Any, tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    with path.open("wb") as stream:
        stream.truncate(200_000_000)
    images.add_source(settings, str(path))
    settings.variants = 4
    pump.new_folder()  # the first one locks the session's folder
    times = []  # of the processor: on a busy machine the clock says more
    for _ in range(3):
        begin = time.thread_time()
        new = generate.new_jobs(bpy.context)
        for job in new:
            pump.jobs.submit(job)
        times.append(time.thread_time() - begin)
    print(f"{1000 * min(times):.1f} ms")
    pump.jobs.close()
    needs_quick_memory()
    assert min(times) < 0.016


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
def test_what_is_no_file_is_left_to_the_backend_and_not_waited_for(settings: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    with (tmp_path / "endless.png").open("wb") as stream:
        stream.truncate(MAX_PICTURE + 1)
    names = [str(tmp_path / name) for name in ("pipe.png", "folder.png", "endless.png", "gone.png", "nul\0.png")]
    for name in names:
        assert images.picture(name).content == name


def test_a_disk_that_fails_while_an_image_is_read_is_named(settings: Any, tmp_path: Path) -> None:
    opened = ImageFile(Path(file(tmp_path)))

    class Failing:
        def seek(self, place: int) -> None:
            """Nothing fails yet."""

        def read(self, size: int) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    opened._stream = Failing()  # type: ignore[assignment]
    writer = InputWriter({tmp_path / "job" / "mug.png": opened})
    writer.run()
    assert writer.error is not None
    assert writer.error.message == f"The disk of the folder {tmp_path} cannot be reached: Input/output error."


def test_a_packed_image_goes_as_the_file_in_it(settings: Any, tmp_path: Path) -> None:
    path = file(tmp_path)
    image = bpy.data.images.load(path)
    image.pack()
    content = Path(path).read_bytes()
    Path(path).unlink()
    bpy.ops.espalier.add_image(image=image.name)
    assert not images.is_missing(settings.images[0])
    (written,) = laid_out(settings, tmp_path)
    assert Path(written).name == "mug.png"
    assert Path(written).read_bytes() == content


def test_a_painted_image_goes_as_its_pixels(settings: Any, tmp_path: Path) -> None:
    image = bpy.data.images.load(file(tmp_path))
    values = np.random.default_rng(0).random((32, 32, 4), np.float32)
    values[..., 3] = 1
    image.pixels.foreach_set(values.ravel())
    image.update()
    assert image.is_dirty
    bpy.ops.espalier.add_image(image=image.name)
    (written,) = laid_out(settings, tmp_path)
    seen = np.asarray(opened(written).convert("RGBA"))[::-1] / 255
    np.testing.assert_allclose(seen, values, atol=1 / 255)


def test_a_generated_image_can_be_read_by_the_backend(settings: Any, tmp_path: Path) -> None:
    image = bpy.data.images.new("Sketch of a mug", 64, 48, alpha=True)
    values = np.zeros((48, 64, 4), np.float32)
    values[8:40, 16:48] = (0.2, 0.4, 0.6, 1)
    image.pixels.foreach_set(values.ravel())
    bpy.ops.espalier.add_image(image=image.name)
    (written,) = laid_out(settings, tmp_path)
    assert Path(written).stem == "Sketch_of_a_mug"
    pytest.importorskip("torch")  # which a Blender's own Python lacks
    from backend.images.files import load_image

    cut_out = np.asarray(load_image(Path(written)))
    assert cut_out.shape == (48, 64, 4)
    assert cut_out[20, 30].tolist() == [51, 102, 153, 255]
    assert cut_out[0, 0, 3] == 0


def test_a_float_image_is_brought_to_srgb(settings: Any, tmp_path: Path) -> None:
    image = bpy.data.images.new("Linear", 16, 16, alpha=True, float_buffer=True)
    image.pixels.foreach_set(np.tile(np.array((0.1, 0.1, 0.1, 0.5), np.float32), 256))
    bpy.ops.espalier.add_image(image=image.name)
    (written,) = laid_out(settings, tmp_path)
    shade = round((1.055 * 0.2 ** (1 / 2.4) - 0.055) * 255)  # 0.1 was multiplied by an alpha of 0.5
    assert np.asarray(opened(written))[0, 0].tolist() == [shade, shade, shade, 128]


def test_an_image_without_pixels_is_refused(settings: Any, tmp_path: Path) -> None:
    image = bpy.data.images.load(file(tmp_path, "gone.tga"))  # of a kind that the backend does not read
    Path(image.filepath).unlink()
    bpy.ops.espalier.add_image(image=image.name)
    assert images.is_missing(settings.images[0])
    with pytest.raises(ValueError, match=r"gone\.tga has no pixels"):
        images.collect(settings)
    with pytest.raises(RuntimeError, match="has no pixels"):
        bpy.ops.espalier.generate()


def test_the_render_result(settings: Any, tmp_path: Path) -> None:
    assert not bpy.ops.espalier.add_render.poll()
    scene = bpy.context.scene
    scene.camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    scene.collection.objects.link(scene.camera)
    scene.render.engine, scene.cycles.samples, scene.cycles.use_denoising = "CYCLES", 1, False  # some builds cannot
    scene.render.resolution_x, scene.render.resolution_y = 64, 32
    scene.render.resolution_percentage = 100
    scene.render.film_transparent = True
    scene.render.image_settings.file_format = "JPEG"
    bpy.ops.render.render()
    assert bpy.ops.espalier.add_render() == {"FINISHED"}
    assert scene.render.image_settings.file_format == "JPEG"
    (written,) = laid_out(settings, tmp_path)
    rendered = opened(written)
    assert (rendered.format, rendered.mode, rendered.size) == ("PNG", "RGBA", (64, 32))
    assert np.asarray(rendered)[..., 3].max() == 0  # there was nothing before the camera


def test_pasting_says_why_it_cannot(settings: Any) -> None:
    assert not bpy.ops.espalier.paste_image.poll()
    with pytest.raises(RuntimeError, match="no image on the clipboard"):
        bpy.ops.espalier.paste_image()


def test_images_are_found_again_by_their_sources(settings: Any, tmp_path: Path) -> None:
    image = bpy.data.images.new("Sketch", 16, 16)
    sources = [file(tmp_path), images.DATABLOCK + image.name]
    assert all(images.add_source(settings, source) for source in sources)
    assert [images.source(item) for item in settings.images] == sources
    assert all(images.add_source(settings, source) for source in sources)
    assert len(settings.images) == 2
    assert not images.add_source(settings, images.DATABLOCK + "gone")
    bpy.data.images.remove(image)
    assert images.is_missing(settings.images[1])


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_bmp_of_any_number_of_channels(channels: int, tmp_path: Path) -> None:
    values = np.random.default_rng(1).random((37, 5, channels), np.float32)
    values[0, 0, 0] = np.nan
    (tmp_path / "a.bmp").write_bytes(encode_bmp(Pixels(values)))
    seen = np.asarray(opened(tmp_path / "a.bmp"))[::-1] / 255
    expected = np.ones((37, 5, 4))
    expected[..., : max(3, channels)] = np.nan_to_num(values)
    np.testing.assert_allclose(seen, expected, atol=1 / 255)


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    writer = InputWriter({tmp_path / "file" / "a.png": b"content"})
    writer.start()
    writer.join()
    assert writer.error is not None
    assert str(tmp_path / "file") in writer.error.message
    assert "Errno" not in writer.error.message
    (tmp_path / "file").unlink()
    again = InputWriter(writer.files)
    again.run()
    assert again.error is None
    assert (tmp_path / "file" / "a.png").read_bytes() == b"content"
    assert again.files == {}


def test_a_file_that_is_no_image_keeps_its_name_for_the_error(settings: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("milk")
    images.add_source(settings, str(tmp_path / "notes.txt"))
    (path,) = laid_out(settings, tmp_path / "job")
    assert Path(path).name == "notes.txt"

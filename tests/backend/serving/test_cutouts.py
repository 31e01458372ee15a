"""Cut-outs for the panel and on the command line."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backend import protocol
from backend.__main__ import main
from backend.images import matting
from backend.kept import Kept
from backend.serving import cutouts
from backend.serving.cutouts import MOST, Cutouts, answer, make
from tests.backend.images.test_background import HORIZON, RED, SCENE, SIDE, UNCLEAR, lit, on, picture, plain


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    SCENE.save(tmp_path / "a.png")
    return tmp_path / "a.png"


def request(image: Path, **changes: Any) -> protocol.Cutout:
    return protocol.Cutout("c", str(image), str(image.with_name("cut.png")), **changes)


def alpha_of(done: protocol.CutoutDone) -> np.ndarray:
    return np.asarray(Image.open(done.out).getchannel("A"))


def test_a_cut_out_from_request_to_file(scene: Path) -> None:
    done = make(request(scene))
    assert done == protocol.CutoutDone("c", str(scene.with_name("cut.png")), True, (protocol.BACKGROUND_REMOVED,))
    assert alpha_of(done).shape == (SIDE, SIDE)
    assert (alpha_of(done)[5, 5], alpha_of(done)[200, 200]) == (0, 255)
    assert sorted(file.name for file in scene.parent.iterdir()) == ["a.png", "cut.png"]


def test_what_is_transparent_keeps_its_colours(scene: Path) -> None:
    """A person can paint it back, and sees the other objects when picking one."""
    cut = np.asarray(Image.open(make(request(scene)).out))
    whole = np.asarray(Image.open(scene).convert("RGB"))
    hidden = cut[..., 3] == 0
    assert hidden.mean() > 0.2
    assert np.abs(cut[hidden][:, :3].astype(int) - whole[hidden]).max() <= 1


def test_a_thumbnail_lies_on_a_checkerboard(scene: Path) -> None:
    thumbnail = scene.with_name("thumbnail.png")
    make(request(scene, thumbnail=str(thumbnail)))
    with Image.open(thumbnail) as image:
        assert image.mode == "RGB"
        assert max(image.size) == protocol.THUMBNAIL_SIDE
        shown = np.asarray(image)
    square, (dark, light) = protocol.CHECKER_SQUARE, protocol.CHECKER_GREYS
    assert shown[2, 2].tolist() == [light if dark == shown[2, 2 + square, 0] else dark] * 3
    assert {int(shown[2, 2, 0]), int(shown[2, 2 + square, 0])} == {dark, light}
    middle = shown[shown.shape[0] // 2, shown.shape[1] // 2].tolist()
    assert middle[0] - middle[2] > 40, "the object is red, and in front of it"


def test_an_object_that_is_cut_off_is_noted(tmp_path: Path) -> None:
    picture(on(HORIZON, lit(RED))).crop((0, 0, SIDE, 200)).save(tmp_path / "a.png")
    assert make(request(tmp_path / "a.png")).notes == (protocol.BACKGROUND_REMOVED, protocol.EDGE_TOUCHED)


def test_where_nothing_stands_out_the_whole_image_is_written(tmp_path: Path) -> None:
    picture(UNCLEAR["noise"]).save(tmp_path / "a.png")
    done = make(request(tmp_path / "a.png"))
    assert (done.removed, done.notes) == (False, (protocol.NOTHING_STANDS_OUT,))
    assert alpha_of(done).min() == 255


def test_transparency_of_the_image_is_kept(scene: Path) -> None:
    cut = make(request(scene)).out
    done = make(protocol.Cutout("d", cut, str(scene.with_name("again.png"))))
    assert (done.removed, done.notes) == (False, ())
    assert (np.asarray(Image.open(cut)) == np.asarray(Image.open(done.out))).all()


def test_a_large_image_is_reduced(tmp_path: Path) -> None:
    picture(plain(RED)).resize((3000, 100)).save(tmp_path / "a.png")
    done = make(request(tmp_path / "a.png", background="never"))
    assert alpha_of(done).shape == (51, protocol.CUTOUT_SIDE)


@pytest.mark.parametrize(
    "changes",
    [
        {"background": "sometimes"},
        {"background": 3},
        {"out": "cut.jpg"},
        {"out": "/no/such/folder/cut.png"},
        {"out": None},
        {"thumbnail": 5},
        {"thumbnail": "thumbnail.jpg"},
        {"image": 5},
        {"point": (0.5,)},
        {"point": (0.5, 1.5)},
        {"point": (0.5, float("nan"))},
        {"point": (True, 0.5)},
        {"point": "ab"},
    ],
    ids=str,
)
def test_a_request_that_makes_no_sense_is_refused(scene: Path, changes: dict[str, Any]) -> None:
    values = {"image": str(scene), "out": str(scene.with_name("cut.png"))} | changes
    message = answer(protocol.Cutout("c", **values))
    assert isinstance(message, protocol.Error)
    assert (message.job, message.code) == ("c", "settings_invalid")


def test_an_image_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    message = answer(request(tmp_path / "a.png"))
    assert isinstance(message, protocol.Error)
    assert message.code == "image_missing"


def test_a_missing_network_is_no_matter_of_the_image(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matting, "best", lambda: None)
    message = answer(request(scene))
    assert isinstance(message, protocol.Error)
    assert message.code == "matting_missing"


def test_requests_are_answered_in_order_one_at_a_time_and_the_number_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[Any] = []
    free, done = threading.Semaphore(0), threading.Semaphore(0)

    def slow(request: protocol.Cutout, kept: Kept) -> protocol.CutoutDone:
        free.acquire()
        return protocol.CutoutDone(request.id, "", False)

    def send(message: protocol.Message) -> None:
        sent.append(message)
        done.release()

    monkeypatch.setattr(cutouts, "answer", slow)
    queue = Cutouts(send, Kept(0))
    for number in range(MOST + 2):
        queue.receive(protocol.Cutout(str(number), "a", "b"))
    assert [(m.job, m.code) for m in sent] == [(str(MOST), "cutouts_busy"), (str(MOST + 1), "cutouts_busy")]
    queue.cancel("1")
    queue.cancel("unknown")
    assert sent.pop() == protocol.Cancelled("1")
    sent.clear()
    threading.Thread(target=queue.work, daemon=True).start()
    for _ in range(3):
        done.acquire(blocking=False)
    for _ in range(MOST - 1):
        free.release()
        assert done.acquire(timeout=10)
    assert [message.id for message in sent] == ["0", *map(str, range(2, MOST))]


def test_a_request_without_a_name_is_refused() -> None:
    sent: list[Any] = []
    Cutouts(sent.append, Kept(0)).receive(protocol.Cutout(None, "a", "b"))  # type: ignore[arg-type]
    assert [message.code for message in sent] == ["request_unreadable"]


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_makes_all_it_can(scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(UNCLEAR["noise"]).save(tmp_path / "b.png")
    (tmp_path / "more").mkdir()
    SCENE.convert("L").save(tmp_path / "more" / "a.png")
    out = tmp_path / "out"
    images = [str(scene), str(tmp_path / "b.png"), str(tmp_path / "more" / "a.png")]
    assert main(["cutout", *images, "--out", str(out)]) == 1
    printed = capsys.readouterr()
    assert [line.partition(": ")[2] for line in printed.out.splitlines()] == ["Background removed."] * 2
    assert "b.png" in printed.err
    assert sorted(file.name for file in out.iterdir()) == ["a-2.png", "a.png"]


def test_the_command_never_writes_over_its_image(scene: Path) -> None:
    before = scene.read_bytes()
    assert main(["cutout", str(scene), "--out", str(scene.parent), "--background", "always"]) == 0
    assert scene.read_bytes() == before
    assert (scene.parent / "a-2.png").exists()


def test_the_command_refuses_a_point_outside(scene: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cutout", str(scene), "--out", str(scene.parent), "--point", "0.5", "3"]) == 2
    assert "from 0 to 1" in capsys.readouterr().err


def test_cut_outs_replace_only_those_of_the_same_image(tmp_path: Path) -> None:
    from backend.serving.cutouts import _free_name, _source, write
    from tests.backend.images.test_images import disc

    out = tmp_path / "out"
    out.mkdir()
    for name, side in (("a", 64), ("b", 80)):
        (tmp_path / name).mkdir()
        disc(side=side).save(tmp_path / name / "item.png")

    def cut(image: Path) -> str:
        place = _free_name(out, image, set())
        write(disc(side=48), place, _source(image))
        return place.name

    first, second = tmp_path / "a" / "item.png", tmp_path / "b" / "item.png"
    assert [cut(first), cut(second), cut(first), cut(second)] == ["item.png", "item-2.png", "item.png", "item-2.png"]
    (out / "mine.png").write_text("my own")
    disc().save(tmp_path / "mine.png")
    assert cut(tmp_path / "mine.png") == "mine-2.png"
    (out / "linked.png").symlink_to(tmp_path / "mine.png")
    disc(side=90).save(tmp_path / "linked.png")
    assert cut(tmp_path / "linked.png") == "linked-2.png"
    long = tmp_path / ("x" * 250 + ".png")
    disc().save(long)
    assert len(cut(long)) < 250
    assert _free_name(tmp_path, first.rename(tmp_path / "item.png"), set()).name == "item-2.png"

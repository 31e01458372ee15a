"""From folders, patterns and tables to rows with names and fingerprints."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from backend.batches import VIEWS
from backend.errors import SettingsError
from backend.farm.rows import Known, Row, find, prepare
from backend.protocol import Settings
from tests.backend.farm.farms import needs_ray

pytestmark = needs_ray
SETTINGS = {"model": "mini", "seed": 0, "faces": Settings.faces}
KNOWN = Known(SETTINGS, "a model", (".glb",), {}, (), "/out")


def pictures(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def wanted(rows: list[Row]) -> list[tuple[str, list[str]]]:
    return [(row.wanted, [Path(image).name for image in row.images]) for row in rows]


def test_a_folder_has_its_images_and_their_views(tmp_path: Path) -> None:
    pictures(tmp_path, "b.png", "a_back.png", "a_front.png", "notes.txt", "._b.png", "deeper/c.png")
    rows, entries = find(str(tmp_path), views=True)
    assert wanted(rows) == [("a", ["a_front.png", "a_back.png"]), ("b", ["b.png"])]
    assert len(find(str(tmp_path), views=False)[0]) == 3
    assert entries[str(tmp_path / "b.png")].size == 5
    assert "front" in VIEWS


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.png", ["a"]),
        ("**/*.png", ["a", "b", "c"]),
        ("*/*.png", ["b"]),
        ("deep/**/*.jpg", ["d"]),
        ("de*/er/*", ["c"]),
    ],
)
def test_a_pattern_has_what_fits_it(tmp_path: Path, pattern: str, found: list[str]) -> None:
    pictures(tmp_path, "a.png", "deep/b.png", "deep/er/c.png", "deep/d.jpg")
    assert sorted(row.wanted for row in find(f"{tmp_path}/{pattern}", views=True)[0]) == found


def test_a_table_names_images_views_seeds_and_settings(tmp_path: Path) -> None:
    pictures(tmp_path, "in/a.png", "in/b.png", "in/c.png")
    (tmp_path / "all.csv").write_text(
        "image,name,seed,faces,normal_map,guidance\nin/a.png,first,7,,true,3\nin/b.png;in/c.png,,,500,,\n"
    )
    first, second = find(str(tmp_path / "all.csv"), views=True)[0]
    assert (first.wanted, first.settings) == ("first", {"seed": 7, "normal_map": True, "guidance": 3.0})
    assert (second.wanted, second.settings) == ("b", {"faces": 500})
    assert [Path(image).name for image in second.images] == ["b.png", "c.png"]


def test_a_parquet_table_may_have_lists_of_images(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    buffer = io.BytesIO()
    parquet.write_table(pa.table({"images": [["a.png", "b.png"], ["c.png"]], "seed": [1, None]}), buffer)
    (tmp_path / "all.parquet").write_bytes(buffer.getvalue())
    rows, _ = find(str(tmp_path / "all.parquet"), views=True)
    assert [row.settings for row in rows] == [{"seed": 1}, {}]
    assert [len(row.images) for row in rows] == [2, 1]


@pytest.mark.parametrize(
    ("table", "why"),
    [("image,colour\na.png,red\n", "colour"), ("name\na\n", "no column image"), ("image,model\na.png,x\n", "model")],
)
def test_a_table_that_makes_no_sense_is_refused(tmp_path: Path, table: str, why: str) -> None:
    (tmp_path / "all.csv").write_text(table)
    with pytest.raises(SettingsError, match=why):
        find(str(tmp_path / "all.csv"), views=True)


def test_a_source_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no folder"):
        find(str(tmp_path / "missing"), views=True)


def test_a_row_with_impossible_settings_says_so(tmp_path: Path) -> None:
    (good, bad) = prepare([Row("a", ["/a.png"]), Row("b", ["/b.png"], {"faces": 2})], {}, KNOWN)
    assert good.problem == ""
    assert "Faces" in bad.problem


def test_names_are_each_ones_own_and_stay(tmp_path: Path) -> None:
    def three() -> list[Row]:
        return [Row("mug", ["/a/mug.png"]), Row("Mug", ["/b/Mug.png"]), Row("car", ["/car.png"])]

    first = prepare(three(), {}, replace(KNOWN, there=("car.glb",)))
    assert [row.name for row in first] == ["mug", "Mug-2", "car-2"]
    earlier = {row.name: row.line() for row in first}
    later = prepare([Row("mug", ["/0/mug.png"]), *three()], {}, replace(KNOWN, earlier=earlier, there=("mug.glb",)))
    assert [row.name for row in later] == ["mug-3", "mug", "Mug-2", "car-2"]


def test_the_fingerprint_changes_with_all_that_changes_an_object(tmp_path: Path) -> None:
    source = str(pictures(tmp_path, "a.png"))

    def fingerprint(known: Known = KNOWN, **settings: int) -> str:
        rows, entries = find(source, views=True)
        rows[0].settings = dict(settings)
        return prepare(rows, entries, known)[0].fingerprint

    usual = fingerprint()
    assert fingerprint() == usual
    others = [
        fingerprint(seed=1),
        fingerprint(replace(KNOWN, made_by="another model")),
        fingerprint(replace(KNOWN, settings={**SETTINGS, "faces": 5})),
        fingerprint(replace(KNOWN, endings=(".glb", ".obj"))),
    ]
    (tmp_path / "a.png").write_bytes(b"another picture")
    assert len({usual, *others, fingerprint()}) == 6


def test_reports_know_no_keys_of_stores_and_no_folders(tmp_path: Path) -> None:
    rows = [Row("a", ["s3://bucket/a.png?access_key=secret"]), Row("b", ["/home/me/in/b.png"])]
    first, second = prepare(rows, {}, replace(KNOWN, target="/home/me/out"))
    assert first.told == ["s3://bucket/a.png"]
    assert second.told == ["../in/b.png"]

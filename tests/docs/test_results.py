"""The tables of the pages are those of the figures in docs/benchmarks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts import results

FIGURES = {
    "columns": {
        "F": {"decimals": 3, "unit": "", "meaning": "higher is better"},
        "invalid": {"decimals": 0, "unit": " %", "meaning": "lower is better"},
    },
    "tables": {"one": ["student"]},
    "rows": {"teacher": {"F": [0.9, 0.0], "invalid": [11, 2]}, "student": {"F": 0.91, "invalid": [9, 0]}},
}


@pytest.fixture
def figures(tmp_path: Path) -> Path:
    (tmp_path / "trial.json").write_text(json.dumps(FIGURES), "utf-8")
    return tmp_path


@pytest.mark.parametrize("page", results.pages(), ids=lambda page: page.name)
def test_no_page_is_out_of_date(page: Path) -> None:
    text = page.read_text("utf-8")
    assert results.rewritten(text) == text, "run python -m scripts.results"


def test_a_table_is_made_from_the_figures(figures: Path) -> None:
    made = results.rewritten("Before\n<!-- table: trial one -->\nold\n<!-- end -->\nAfter\n", figures)
    assert made == (
        "Before\n<!-- table: trial one -->\n"
        "|  | F | invalid |\n| --- | ---: | ---: |\n| student | 0.910 | 9 ± 0 % |\n"
        "<!-- end -->\nAfter\n"
    )


def test_all_rows_and_what_the_columns_mean(figures: Path) -> None:
    assert "| teacher | 0.900 ± 0.000 | 11 ± 2 % |" in results.markdown(FIGURES, "all")
    assert results.markdown(FIGURES, "columns") == "- *F*: higher is better\n- *invalid*: lower is better"


def test_what_is_not_known_is_a_dash() -> None:
    assert results.figure(None, {"decimals": 1, "unit": " ms"}) == "–"


def test_an_unknown_table_is_an_error(figures: Path) -> None:
    with pytest.raises(KeyError):
        results.rewritten("<!-- table: trial nothing -->\n<!-- end -->", figures)
    with pytest.raises(FileNotFoundError):
        results.rewritten("<!-- table: nothing all -->\n<!-- end -->", figures)

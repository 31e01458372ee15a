"""Links between the pages lead somewhere, and the README stays short."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
PAGES += [ROOT / "wheels" / "README.md", *sorted((ROOT / "tests").glob("*/README.md"))]

CODE = re.compile(r"^```.*?^```", re.M | re.S)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*$", re.M)
ELSEWHERE = re.compile(r"[a-z]+:")  # https:, mailto:


def links(text: str) -> Iterator[str]:
    """The targets of a page's links and images; what stands in code is no link."""
    prose = re.sub(r"`[^`]*`", "", CODE.sub("", text))
    yield from LINK.findall(prose)


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    found: set[str] = set()
    for heading in HEADING.findall(CODE.sub("", text)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        number, unique = 1, anchor
        while unique in found:
            unique, number = f"{anchor}-{number}", number + 1
        found.add(unique)
    return found


def broken(page: Path, text: str) -> list[str]:
    """The links of a page that lead nowhere, with why."""
    found = []
    for link in links(text):
        if ELSEWHERE.match(link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists():
            found.append(f"{link}: there is no such file")
        elif not target.is_relative_to(ROOT):
            found.append(f"{link}: it is outside the repository")
        elif anchor and anchor not in anchors(text if target == page else target.read_text("utf-8")):
            found.append(f"{link}: there is no such heading")
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert broken(page, page.read_text("utf-8")) == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_the_readme_leads_to_every_page(page: Path) -> None:
    assert f"docs/{page.name}" in set(links((ROOT / "README.md").read_text("utf-8")))


def test_every_picture_of_docs_is_shown_somewhere() -> None:
    shown = {(page.parent / link).resolve() for page in PAGES for link in links(page.read_text("utf-8"))}
    pictures = {path for kind in ("png", "jpg") for path in (ROOT / "docs").glob(f"*.{kind}")}
    assert pictures - shown == set()


def test_the_readme_is_short() -> None:
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert len(lines) <= 120
    assert [line for line in lines if len(line) > 120] == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[a](nothing.md)", "no such file"),
        ("![a](nothing.png)", "no such file"),
        ("[a](#nothing)", "no such heading"),
        ("[a](docs/LOG.md#nothing)", "no such heading"),
        ("[a](../../)", "outside the repository"),
    ],
)
def test_a_broken_link_is_found(text: str, why: str) -> None:
    found = broken(ROOT / "README.md", text)
    assert len(found) == 1
    assert why in found[0]


@pytest.mark.parametrize(
    "text",
    ["# A *heading*, `with` code\n[a](#a-heading-with-code)", "[a](https://example.org)", "`[a](nothing.md)`"],
)
def test_a_good_link_is_not_reported(text: str) -> None:
    assert broken(ROOT / "README.md", text) == []

"""The pages: all are in the contents, links lead somewhere, what they name is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [
    *DOCS.glob("*.md"),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *ROOT.glob("*/README.md"),
    ROOT / "benchmarks" / "RESULTS.md",
]
PACKAGES = "tmp|flightplan|ingest|photogrammetry|flows"
IN_WORK = ("SURVEY/", "work/", "products/", "photos/", "plan/", "rehearsal/", "truth/", "formats/")
"""Beginnings of paths in a survey, or below the folder that a sentence is about."""


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and the site name them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


def names_in(page: Path, pattern: str) -> list[str]:
    return re.findall(pattern, page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_a_page_and_a_heading_of_it(page: Path) -> None:
    for target, place in names_in(page, r"\]\(([^)#\s]*)(#[^)\s]*)?\)"):
        if "://" in target:
            continue
        found = (page.parent / target).resolve() if target else page
        assert found.exists(), f"{page}: {target}"
        if place:
            assert place[1:] in anchors(found), f"{page}: {target}{place}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_and_modules_that_a_page_tells_of_are_there(page: Path) -> None:
    for path in names_in(page, r"`([\w.-]+/[\w./-]+\.(?:py|toml|md|j2))`"):
        assert path.startswith(IN_WORK) or (ROOT / path).exists(), f"{page}: {path}"
    for name in names_in(page, rf"`((?:{PACKAGES})(?:\.\w+)+)`"):
        *parts, last = name.split(".")
        if name == "tmp.card.ingested":  # an event of Prefect
            continue
        here = ROOT.joinpath(*parts)
        module = here.with_suffix(".py") if here.with_suffix(".py").exists() else here
        if (here / last).is_dir() or (here / f"{last}.py").exists():
            continue
        text = (module if module.is_file() else here / "__init__.py").read_text(encoding="utf-8")
        assert re.search(rf"\b{last}\b", text), f"{page}: {name}"


def test_every_page_is_in_the_contents() -> None:
    contents = (DOCS / "index.md").read_text(encoding="utf-8").split()
    pages = {path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.glob("*.md")}
    pages |= {path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.glob("api/*.rst")}
    assert pages - {"index"} <= set(contents)


def test_public_names_are_all_on_their_page() -> None:
    import flightplan
    import flows
    import ingest
    import tmp

    for package in (tmp, flightplan, ingest, flows):
        page = (DOCS / "api" / f"{package.__name__}.rst").read_text(encoding="utf-8")
        shown = set(re.findall(rf"^\.\. auto\w+:: {package.__name__}\.(\w+)$", page, re.MULTILINE))
        assert shown == set(package.__all__)

"""The pages of docs/: what they name is there, what is made from the code is up to date."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Final

import pytest

from adapters.settings import PREFIX, Settings
from sandbox.demo.folder import FOLDER_VARIABLE
from sandbox.servers.browser import GIVEN_VARIABLE
from scripts import pictures, reference
from tests.support.documents import ROOT, Block, anchors, blocks, links, pages, pattern, read, typed
from tests.support.promql import series_of
from tests.support.signals import everything_that_can_be_exported

MAP: Final = "docs/index.md"
# Not the service's own: of the demo and the tests, whose settings must not be taken for its.
OTHER_VARIABLES: Final = {FOLDER_VARIABLE, GIVEN_VARIABLE, f"{PREFIX}TEST_DATABASE_URL"}
every_page: Final = pytest.mark.parametrize("page", pages())


@pytest.mark.parametrize("path", [*reference.files(), *pictures.files()], ids=lambda path: path.name)
def test_what_is_made_from_the_code_is_up_to_date(path: Path) -> None:
    """`python -m scripts.reference` and `python -m scripts.pictures` write them."""
    made = reference.files() | pictures.files()
    assert path.read_text("utf-8") == made[path]


@pytest.mark.parametrize("path", sorted(ROOT.glob("docs/**/*.svg")), ids=lambda path: path.name)
def test_a_picture_is_well_formed_and_has_a_page_of_its_own_colour(path: Path) -> None:
    """On a dark page dark words would vanish. A page that can't show it has its title."""
    root = ET.parse(path).getroot()
    space = {"": "http://www.w3.org/2000/svg"}
    page = root.find("rect", space)
    assert page is not None
    assert (page.get("class"), page.get("fill")) in {("page", None), (None, "white")}
    title = root.find("title", space)
    assert title is not None
    assert title.text


@every_page
def test_links_and_pictures_lead_somewhere(page: str) -> None:
    """To a file that is there, and to a heading in it."""
    for target in links(page):
        file, _, anchor = target.partition("#")
        path = (ROOT / page).parent / file if file else ROOT / page
        assert path.exists(), f"{page}: {target}"
        if anchor:
            assert anchor in anchors(str(path.resolve().relative_to(ROOT))), f"{page}: {target}"


@every_page
def test_pictures_have_words_for_those_who_do_not_see_them(page: str) -> None:
    """`![words](file)`."""
    assert "![](" not in read(page)


@every_page
def test_every_setting_that_a_page_names_exists(page: str) -> None:
    """With its whole name."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | OTHER_VARIABLES
    assert set(re.findall(rf"\b{PREFIX}[A-Z][A-Z_]*[A-Z]\b", read(page))) <= known


@every_page
def test_every_metric_that_a_page_names_exists(page: str) -> None:
    """With the ending that it has on the wire, and labels that it has."""
    series = series_of(everything_that_can_be_exported())
    histograms = {name.removesuffix("_count") for name in series if name.endswith("_count")}
    for name, labels in re.findall(r"`((?:cashback|kafka|process)_\w+)(?:\{([^}`]*)\})?`", read(page)):
        if name.startswith("kafka_dlt"):
            continue
        assert name in series or name in histograms, f"{page}: {name}"
        for label in re.findall(r"(\w+)(?:=|,|$)", labels):
            assert label in series.get(name, series.get(f"{name}_count", {})), f"{page}: {name}{{{labels}}}"


def test_the_map_leads_to_every_page() -> None:
    """The decisions about the code have a folder of their own."""
    linked = {str(((ROOT / MAP).parent / target.partition("#")[0]).resolve()) for target in links(MAP)}
    found = {str(ROOT / page) for page in pages() if page != MAP and not page.startswith("docs/adr/")}
    assert found <= linked


# The tools of the tests of documents.


@pytest.mark.parametrize(
    ("expected", "written"),
    [
        ("a\nb", "a\nb\n"),
        ("at …, 6", "at 12:15:17, 6\n"),
        ("a\n…\nz", "a\nb\nc\nz\n"),
        ("a\n…\nz", "a\nz\n"),
        ("…\nz", "z\n"),
        ("a  b", "a  b  \n"),
    ],
)
def test_an_output_is_shown_with_gaps(expected: str, written: str) -> None:
    """Within a line and between lines."""
    assert pattern(expected).fullmatch(written)


@pytest.mark.parametrize(
    ("expected", "written"), [("a", "b\n"), ("a", "a\nb\n"), ("a\nz", "a\nb\nz\n"), ("paid 6", "paid 16\n")]
)
def test_an_output_that_is_not_shown_is_noticed(expected: str, written: str) -> None:
    """What has no gap is as it stands there."""
    assert not pattern(expected).fullmatch(written)


def test_commands_are_found_in_their_blocks(tmp_path: Path) -> None:
    """One a line, unless it goes on: behind a backslash, in quotes, in a heredoc, in a function."""
    text = "# first\na 1\nb 2 \\\n  3\nc 'x\ny'\nd <<'EOF'\nin\nEOF\ne() {\n  f\n}\n"
    found = [each.text for each in typed(Block("page", 1, "sh", text))]
    assert found == ["a 1", "b 2 \\\n  3", "c 'x\ny'", "d <<'EOF'\nin\nEOF", "e() {\n  f\n}"]
    session = typed(Block("page", 1, "console", "$ a \\\n> b\nout\n$ c\n"))
    assert [(each.text, each.expected) for each in session] == [("a \\\nb", "out"), ("c", "")]
    with pytest.raises(ValueError, match="has no end"):
        typed(Block("page", 1, "sh", "echo 'x\n"))


def test_every_block_of_every_page_has_an_end() -> None:
    """And there are some."""
    assert sum(len(blocks(page)) for page in pages()) > 30

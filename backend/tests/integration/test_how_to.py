"""Every command of the pages in docs/how-to/ runs, and prints what the page shows."""

import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from app.tools import migrate
from tests import rows
from tests.databases import empty_database, own_database
from tests.pages import HOW_TO, Reader, Wrong, blocks
from tests.schema import connected
from tests.services import Services

PAGES = sorted(HOW_TO.glob("*.md"))
POSTGRESQL, SQLITE, NEWEST = "postgresql://neoforge@db.example.com/neoforge", "sqlite:///app.db", '"your_newest"'
SOME_ROWS = 5


@pytest.fixture
def reader(services: Services, tmp_path: Path) -> Reader:
    """A reader of a page. The names in it: an empty PostgreSQL, `app.db` with some rows, the newest revision."""
    names: dict[str, Callable[[], str]] = {
        POSTGRESQL: lambda: empty_database(services, f"page-{secrets.token_hex(4)}"),
        NEWEST: lambda: repr(migrate.head()),
    }
    return Reader(tmp_path, {"DATABASE_URL": own_database(services, "page")}, names)


def needs_postgresql(page: Path) -> bool:
    return any(POSTGRESQL in block.text for block in blocks(page) if block.kind == "sh")


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.stack(name="server")] if needs_postgresql(page) else [], id=page.stem)
        for page in PAGES
    ],
)
@pytest.mark.no_cover
async def test_a_page_holds(reader: Reader, page: Path) -> None:
    if SQLITE in page.read_text():
        url = f"sqlite:///{reader.folder}/app.db"
        migrate.upgrade(url)
        async with connected(url) as connection:
            await connection.run_sync(lambda sync: rows.insert(sync, rows.make(SOME_ROWS)))
    assert reader.follow(page) > 0


def test_there_are_pages() -> None:
    assert {"expand-and-contract", "sqlite-to-postgresql"} <= {page.stem for page in PAGES}


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        ("```sh\nfalse\n```\n", "page.md:1: exit code 1"),
        ("```sh\nneoforge db nothing\n```\n", "page.md:1: exit code 2"),
        ("```sh\nfalse\ntrue\n```\n", "page.md:1: exit code 1"),
        ("```sh\necho one\n```\n\n```output\ntwo\n```\n", "page.md:5: it prints\none"),
        ("```sh\necho one\n```\n\n```output\n```\n", "page.md:5: it prints\none"),
        ("Say:\n\n```\nneoforge db upgrade\n```\n", "page.md:3: a block of kind '' is not run"),
        ("1. Say:\n   ```bash\n   true\n   ```\n", "page.md:2: a block of kind 'bash' is not run"),
        ("```output\none\n```\n", "page.md:1: this output is of no block"),
        ("```python\nimport os\n```\n", "page.md:1: a block of Python begins with"),
        ("```sh\ntrue\n", "page.md:1: this block does not end"),
    ],
)
def test_a_page_that_does_not_hold_is_told(reader: Reader, tmp_path: Path, page: str, fault: str) -> None:
    file = tmp_path / "page.md"
    file.write_text(page)
    with pytest.raises(Wrong) as told:
        reader.follow(file)
    assert str(told.value).startswith(fault)


def test_what_a_page_shows_may_leave_something_out(reader: Reader, tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text("```sh\nprintf 'a\\nb\\nc 3 s\\n'\n```\n```output\n…\nc … s\n```\n")
    assert reader.follow(file) == 1

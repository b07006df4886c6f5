"""Every Python block of the guide runs, in order, on the real stack."""

import ast
import re
from collections.abc import Iterator
from inspect import CO_COROUTINE
from pathlib import Path

import pytest

from app.worker.tracking import REGISTRY
from tests.services import BACKEND

GUIDE = BACKEND.parent / "docs" / "guide.md"


def blocks(page: Path) -> list[tuple[int, str]]:
    """The Python blocks of a page, each with the number of lines before it."""
    text = page.read_text()
    found = re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, match.start(1)), match[1]) for match in found]


async def run(code: str, names: dict[str, object], after: int) -> None:
    """Run a block as if it stood in an asynchronous function; an error names the page's line."""
    tree = ast.increment_lineno(ast.parse(code), after)
    compiled = compile(tree, str(GUIDE), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if compiled.co_flags & CO_COROUTINE:
        await eval(compiled, names)
    else:
        exec(compiled, names)


@pytest.fixture
def own_tasks() -> Iterator[None]:
    """The page declares a task, which is no other test's."""
    known = dict(REGISTRY)
    yield
    REGISTRY.clear()
    REGISTRY.update(known)


async def test_the_guides_blocks_run_in_order(app, client, clean, smtp, own_tasks) -> None:
    names: dict[str, object] = {"__name__": "guide"}
    found = blocks(GUIDE)
    assert len(found) > 15
    for line, code in found:
        await run(code, names, line)
        for name in [name for name in names if name.startswith("test_")]:
            await names.pop(name)(client)  # type: ignore[operator] # a test function of the page
    assert len(smtp.received("reader@example.com")) == 1


async def test_a_block_that_does_not_hold_is_told() -> None:
    with pytest.raises(AssertionError):
        await run("assert await _false()", {"_false": _false}, 0)


async def _false() -> bool:
    return False

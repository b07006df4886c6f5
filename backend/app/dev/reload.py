"""What changed in the code, in batches: a save touches several files."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from watchfiles import Change, DefaultFilter, awatch

from app.dev.child import say

WATCHED = frozenset({".py", ".j2", ".html", ".css", ".js", ".json", ".txt", ".sql"})
SETTLED = 400  # milliseconds without a further change


class Code(DefaultFilter):
    """Source and templates, without what tools write beside them."""

    def __call__(self, change: Change, path: str) -> bool:
        return Path(path).suffix in WATCHED and super().__call__(change, path)


async def changes(folder: Path, stopping: asyncio.Event) -> AsyncIterator[str]:
    """The names of the files that changed, in words, until `stopping`."""
    try:
        async for batch in awatch(folder, watch_filter=Code(), debounce=SETTLED, stop_event=stopping):
            names = sorted({Path(path).name for _, path in batch})
            yield ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
    except (OSError, RuntimeError) as error:  # the system's watches are used up
        say(f"code changes are not seen ({error}): set WATCHFILES_FORCE_POLLING=true")

"""What is started once a transaction has committed, and forgotten where it rolls back."""

from collections.abc import Callable
from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

OnCommit = Callable[[], Any]
_KEY = "on_commit"


def on_commit(db: AsyncSession, key: str, action: OnCommit) -> None:
    """Have the owner of the transaction start `action` once it has committed. One action a key; rollback forgets it.

    For what may be lost, such as waking the relay or dropping a cache entry: a promise is a row instead.
    """
    db.info.setdefault(_KEY, {})[key] = action


def take_on_commit(db: AsyncSession) -> list[OnCommit]:
    """The actions to start now that the transaction has committed."""
    return list(db.info.pop(_KEY, {}).values())

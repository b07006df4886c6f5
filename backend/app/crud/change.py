"""The feed of changes: whatever changes what a token may do or what a profile answers writes a row, with the change."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col, insert
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.clock import utc_now
from app.core.sql import transaction_id
from app.crud import purging
from app.models.change import Change

USER, SESSION, SIGNING, CONFIG = "user", "session", "signing", "config"
_MADE = "changes_made"


@dataclass(frozen=True, slots=True)
class Place:
    """What a reader could see: every row of the feed with an id up to `at` on SQLite; on PostgreSQL every transaction
    below `at` but those that were still open."""

    at: int = 0
    open: tuple[int, ...] = ()
    server: str = ""
    """Which life of PostgreSQL's server it was: after a crash, a failover or a restore the same numbers are others'."""

    def sees(self, other: "Place") -> bool:
        """Whether whoever read here could see all that could be seen at `other`."""
        unseen = [one for one in self.open if one < other.at and one not in other.open]
        return self.server == other.server and self.at >= other.at and not unseen


# --- writing --------------------------------------------------------------------------------------------------------


async def record(db: AsyncSession, topic: str, subject: UUID | str) -> None:
    await record_all(db, topic, [subject])


async def record_all(db: AsyncSession, topic: str, subjects: Sequence[UUID | str]) -> None:
    """Say that what is known of these is old. Who owns the transaction takes them with `take_made` at its end."""
    now, xid = utc_now(), transaction_id()
    named = [(topic, str(subject)) for subject in subjects]
    rows = [{"topic": topic, "subject": subject, "xid": xid, "created_at": now} for topic, subject in named]
    await db.exec(insert(Change).values(rows))
    db.info.setdefault(_MADE, []).extend(named)


def take_made(db: AsyncSession) -> list[tuple[str, str]]:
    """Topic and subject of what this transaction recorded."""
    made: list[tuple[str, str]] = db.info.pop(_MADE, [])
    return made


# --- reading --------------------------------------------------------------------------------------------------------
# Ids are given out before the commit, so a reader that goes by `id >` steps over rows that commit late. On PostgreSQL a
# row is new if the snapshot of the last read could not see it: its transaction began after that, or was open then.

NOW = (
    "concat_ws(':', pg_current_snapshot(), extract(epoch from pg_postmaster_start_time()),"
    " extract(epoch from pg_stat_get_bgwriter_stat_reset_time()))"
)
"""What a statement that selects it can see on PostgreSQL, for `place_of`.

A server that recovers from the crash of a backend goes on as the same process, and gives numbers of transactions out
again that were not on the disk yet; its statistics begin anew then, which every role can see.
"""
_NEW_POSTGRESQL = text(f"""
    SELECT {NOW} AS seen, NULL AS topic, NULL AS subject
    UNION ALL SELECT NULL, topic, subject FROM changes WHERE xid >= :at
    UNION ALL SELECT NULL, topic, subject FROM changes WHERE xid = ANY (CAST(:open AS bigint[]))
""")  # noqa: S608 - what is put in is the constant above
_NEW_SQLITE = text("SELECT id, topic, subject FROM changes WHERE id > :at ORDER BY id")
_LAST_SQLITE = text("SELECT coalesce(max(id), 0) FROM changes")


async def here(connection: AsyncConnection) -> Place:
    """The place of a reader that begins now: nothing that stands in the feed is new to it."""
    if connection.dialect.name == "sqlite":
        return Place((await connection.execute(_LAST_SQLITE)).scalar_one())
    return place_of((await connection.execute(text(f"SELECT {NOW}"))).scalar_one())


async def since(connection: AsyncConnection, place: Place) -> tuple[list[tuple[str, str]], Place]:
    """Topic and subject of the rows that were committed since `place`, each once, and the next place."""
    if connection.dialect.name == "sqlite":
        found = (await connection.execute(_NEW_SQLITE, {"at": place.at})).all()
        return [(topic, subject) for _, topic, subject in found], Place(found[-1][0]) if found else place
    bound = {"at": place.at, "open": list(place.open)}
    (seen, _, _), *found = (await connection.execute(_NEW_POSTGRESQL, bound)).all()
    return [(topic, subject) for _, topic, subject in found], place_of(seen)


def place_of(now: str) -> Place:
    """From `xmin:xmax:xip,…:server`. Source: PostgreSQL, section 9.27.5, "Transaction ID and Snapshot Information"."""
    _, at, still_open, server = now.split(":", 3)
    return Place(int(at), tuple(int(one) for one in still_open.split(",") if one), server)


async def purge(db: AsyncSession, *, before: datetime) -> int:
    return await purging.purge(db, Change, col(Change.created_at) < before)

"""`Idempotency-Key`: a caller's key is answered once, and again for a day with what was answered then.

The claim is a committed row before the work begins, so that a second request meets it and waits on no lock. The answer
is written in the transaction of the work itself: both stand or neither. Who called and what was sent stand as HMACs.
"""

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.clock import utc_now
from app.core.errors import RequestInProgress, ValidationFailed
from app.core.secrets import derive_key
from app.core.sql import new_id
from app.crud import idempotency_key as rows
from app.crud import user as users
from app.models.idempotency_key import IdempotencyKey

LIFE = timedelta(hours=24)
LEASE = timedelta(seconds=60)  # by the database's clock; longer than any statement may take
_OWNER = "idempotency_owner"


@dataclass(slots=True)
class Claim:
    """One request's claim on a key."""

    caller: str
    """Who calls, as `user:<id>` or `client:<address>`."""
    user_id: UUID | None
    route: str
    key: str
    request: bytes
    """What makes two requests the same: the path with its query, and the body."""
    id: UUID = field(default_factory=new_id)
    kept: bool = False

    def row(self) -> IdempotencyKey:
        return IdempotencyKey(
            id=self.id,
            created_at=utc_now(),
            caller=_mac("caller", self.caller.encode()),
            route=self.route,
            key=hashlib.sha256(self.key.encode()).hexdigest(),
            body=_mac("body", self.request),
        )


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


async def take(db: AsyncSession, claim: Claim) -> bool:
    """Whether this request is the one to answer. True holds once the transaction, which does nothing else, commits."""
    return await rows.claim(db, claim.row(), lease=LEASE, before=utc_now() - LIFE)


async def kept(db: AsyncSession, claim: Claim) -> Answer | None:
    """The answer that the key has; None when it may be taken.

    Raises:
        ValidationFailed: it was another request.
        RequestInProgress: it is still running.
    """
    row = claim.row()
    found = await rows.find(db, row, before=utc_now() - LIFE)
    if found is None:
        return None
    stored, runs = found
    if not hmac.compare_digest(stored.body, row.body):
        raise ValidationFailed.at(
            "/header/Idempotency-Key", "idempotency_key_reused", "This key was sent with another request"
        )
    if runs:
        raise RequestInProgress
    return Answer(stored.status or 0, dict(stored.headers or {}), stored.answer or b"")


async def keep(db: AsyncSession, claim: Claim, answer: Answer) -> None:
    """Keep the answer with the work that it tells of, unless the account that it belongs to has gone meanwhile.

    Raises:
        RequestInProgress: it took longer than its lease, and another request has begun the same.
    """
    owner = db.info.pop(_OWNER, None) or claim.user_id
    if owner and not await users.hold(db, owner):
        return
    values = {"user_id": owner, "status": answer.status, "headers": answer.headers, "answer": answer.body}
    if not await rows.keep(db, claim.id, **values):
        raise RequestInProgress
    claim.kept = True


async def release(db: AsyncSession, claim: Claim) -> None:
    """Give the key back: what was answered is not kept."""
    await rows.release(db, claim.id)


def belongs_to(db: AsyncSession, user_id: UUID) -> None:
    """The answer to a stranger tells of this account, and goes with it."""
    db.info[_OWNER] = user_id


def _mac(purpose: str, what: bytes) -> str:
    return hmac.new(derive_key(f"idempotency/{purpose}"), what, hashlib.sha256).hexdigest()

"""The header `Idempotency-Key`, on every POST that creates: `StrictRoute` puts it there."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import structlog
from fastapi import Depends, Header, Request, Response

from app.api.deps import bearer, transaction
from app.api.recording import route_template
from app.core.db import new_session
from app.core.errors import AppError, RequestInProgress, ValidationFailed
from app.services import access, idempotency
from app.services.idempotency import Answer, Claim

HEADER = "Idempotency-Key"
CREATED = frozenset({201, 202})
PATIENCE = 2.0  # seconds to wait for the first request's answer
PAUSE = 0.05  # seconds between looks
NOT_KEPT = frozenset({"content-length", "set-cookie"})

Key = Annotated[
    str | None,
    Header(
        alias=HEADER,
        min_length=1,
        max_length=255,
        pattern="^[ -~]+$",
        description="The same key with the same body gets the first answer again, for 24 hours.",
    ),
]

log = structlog.get_logger()


class Replayed(Exception):
    """The key has an answer: it is given, and nothing is done."""

    def __init__(self, answer: Response) -> None:
        super().__init__()
        self.answer = answer


async def claim(request: Request, response: Response, key: Key = None) -> AsyncIterator[None]:
    """Claim the key before the endpoint's own transaction begins, and give it back when nothing came of it.

    It stands after the route's other dependencies: what a limit or a missing permission refuses claims nothing.
    """
    if key is None:
        yield
        return
    if len(request.headers.getlist(HEADER)) > 1:
        raise ValidationFailed.at(f"/header/{HEADER}", "header_repeated", "The header is there more than once")
    mine = await _claim_of(request, key)
    answer = await _take(mine)
    if answer is not None:
        # The route's own dependencies have set what holds for this answer, as they did for the first.
        headers = {**answer.headers, **response.headers, "Idempotency-Replayed": "true"}
        raise Replayed(Response(answer.body, answer.status, headers))
    request.state.claim = mine
    try:
        yield
    except Exception:
        await _release(mine)
        raise
    if not mine.kept:
        await _release(mine)


def claims() -> Any:
    """The dependency of a route that creates. It ends after the unit of work, so that it sees a commit that fails."""
    return Depends(claim, scope="function")


async def keep(request: Request, answer: Response) -> None:
    """Write a 2xx answer into the endpoint's own transaction, which has not been committed yet."""
    mine: Claim | None = getattr(request.state, "claim", None)
    if mine is not None and 200 <= answer.status_code < 300:
        headers = {name: value for name, value in answer.headers.items() if name not in NOT_KEPT}
        await idempotency.keep(request.state.db, mine, Answer(answer.status_code, headers, bytes(answer.body)))


async def _claim_of(request: Request, key: str) -> Claim:
    target = request.scope.get("raw_path") or request.url.path.encode()
    sent = b"\0".join((target, request.scope["query_string"], await request.body()))
    route = route_template(request.scope)
    token = await bearer(request)  # not as a dependency: then the document would say that the route needs one
    if token:
        try:
            user = await access.identify(token)
        except AppError:  # whether a token is needed here, the route judges
            pass
        else:
            return Claim(f"user:{user.id}", user.id, route, key, sent)
    address = request.client.host if request.client else ""
    return Claim(f"client:{address}", None, route, key, sent)


async def _take(mine: Claim) -> Answer | None:
    """None once the claim is ours; else the answer of the first request, which is waited for without a transaction.

    Raises:
        RequestInProgress: it still runs after two seconds.
        ValidationFailed: it was another request.
    """
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while True:
        try:
            async with transaction() as db:
                if await idempotency.take(db, mine):
                    return None
        except Exception:
            await _release(mine)  # the claim may have been committed, and only its answer lost
            raise
        while True:
            try:
                async with new_session(read_only=True) as db:
                    answer = await idempotency.kept(db, mine)
            except RequestInProgress:
                if asyncio.get_running_loop().time() >= deadline:
                    raise
                await asyncio.sleep(PAUSE)
                continue
            if answer is not None:
                return answer
            break  # the first one failed, or died: the key is free again


async def _release(mine: Claim) -> None:
    try:
        async with transaction() as db:
            await idempotency.release(db, mine)
    except Exception as error:  # noqa: BLE001 - the answer is told already, and the lease frees the key
        log.warning("idempotency_key_not_released", error=type(error).__name__)

"""What endpoints ask for: the unit of work, and who is asking."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import structlog
from fastapi import Depends, Query, Request, Response
from fastapi.security import OAuth2PasswordBearer
from sqlmodel.ext.asyncio.session import AsyncSession

from app.api.recording import route_template
from app.core import background
from app.core.after_commit import take_on_commit
from app.core.db import new_session
from app.core.email import preferred_language
from app.core.errors import AppError, InvalidAccessToken, NotAuthenticated, PermissionDenied
from app.core.permissions import Permission
from app.crud import user as users
from app.crud.change import CONFIG, take_made
from app.models.user import User
from app.schemas.pages import DEFAULT, MOST, Window
from app.schemas.principal import Principal
from app.services import access, dynamic_config, feed

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

bearer = OAuth2PasswordBearer(tokenUrl="/api/v1/auth/token", refreshUrl="/api/v1/auth/token", auto_error=False)


@asynccontextmanager
async def transaction(*, read_only: bool = False) -> AsyncIterator[AsyncSession]:
    """Committed at the end of the block, rolled back when it raises what does not keep changes."""
    async with new_session(read_only=read_only) as db:
        try:
            yield db
        except AppError as error:
            if error.keeps_changes:
                await commit(db)
            raise
        await commit(db)


async def unit_of_work(request: Request) -> AsyncIterator[AsyncSession]:
    """One transaction a request."""
    async with transaction(read_only=request.method in SAFE_METHODS) as db:
        request.state.db = db  # where a route keeps its answer under an Idempotency-Key
        yield db


async def commit(db: AsyncSession) -> None:
    """Commit, forget what is old now, then start what waited for it."""
    made = take_made(db)
    try:
        await db.commit()
    finally:  # a commit that nobody heard of may have happened
        feed.apply(made)
    if any(topic == CONFIG for topic, _ in made):
        await dynamic_config.fresh()  # the process that answers goes by its own change first
    for action in take_on_commit(db):
        background.start(action())


async def get_db(db: Annotated[AsyncSession, Depends(unit_of_work, scope="function")]) -> AsyncSession:
    """The request's database session. It commits before the response is sent, so 2xx means stored."""
    return db


async def get_bearer(token: Annotated[str | None, Depends(bearer)]) -> str | None:
    """The bearer token of the request, not yet looked at."""
    return token


async def get_principal(token: Annotated[str | None, Depends(bearer)]) -> Principal:
    """Who is asking, as it is now. Every log line of the request says it from here on.

    Raises:
        NotAuthenticated, InvalidAccessToken, SessionRevoked
    """
    if not token:
        raise NotAuthenticated
    found = await access.identify(token)
    structlog.contextvars.bind_contextvars(actor_id=str(found.id))
    return found


async def get_known_principal(token: Annotated[str | None, Depends(bearer)]) -> Principal | None:
    """Who is asking, or None where no token was sent. One that is not valid is refused all the same.

    Raises:
        InvalidAccessToken, SessionRevoked
    """
    return await get_principal(token) if token else None


DB = Annotated[AsyncSession, Depends(get_db)]
Bearer = Annotated[str | None, Depends(get_bearer)]
CurrentPrincipal = Annotated[Principal, Depends(get_principal)]
KnownPrincipal = Annotated[Principal | None, Depends(get_known_principal)]


async def get_current_user(principal: CurrentPrincipal, db: DB) -> User:
    """The caller's own row, loaded in the request's session, so that it may be changed; it stays until the commit."""
    user = await users.held(db, principal.id)
    if user is None:
        raise InvalidAccessToken
    return user


CurrentUser = Annotated[User, Depends(get_current_user)]


def require(permission: Permission) -> Any:
    """A dependency that lets only holders of `permission` pass: `dependencies=[require(Permission.users_read)]`."""

    async def check(principal: CurrentPrincipal) -> None:
        if permission not in principal.permissions:
            raise PermissionDenied

    return Depends(check)


Limit = Annotated[int, Query(ge=1, le=MOST, description="How many at most.")]
Cursor = Annotated[str | None, Query(min_length=1, max_length=64, description="`next_cursor` of the page before.")]


async def get_window(request: Request, limit: Limit = DEFAULT, cursor: Cursor = None) -> Window:
    """Which part of the list is asked for."""
    return Window.at(route_template(request.scope), limit, cursor)


Listing = Annotated[Window, Depends(get_window)]


async def get_language(request: Request) -> str:
    """The language, of those that mails are written in, that Accept-Language likes best (RFC 9110, 12.5.4)."""
    return preferred_language(request.headers.get("accept-language", ""))


Language = Annotated[str, Depends(get_language)]


async def no_store(response: Response) -> None:
    """The answer carries a token or personal data: no cache may keep it."""
    response.headers["Cache-Control"] = "no-store"

"""Registering, signing in and out."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Body, Depends, Request, Response

from app.api import browser
from app.api.browser import Delivery, RefreshCookie
from app.api.deps import DB, Bearer, CurrentPrincipal, Language, no_store
from app.api.limits import limit
from app.api.oauth import FORM, OAuthError, grant, token_form
from app.api.problems import raises
from app.api.strict import StrictRouter
from app.core.errors import (
    CsrfFailed,
    EmailNotVerified,
    EmailTaken,
    InvalidAccessToken,
    InvalidCredentials,
    InvalidRefreshToken,
    InvitationNeeded,
    NotAuthenticated,
    RefreshTokenReused,
    RegistrationClosed,
    SessionRevoked,
    ValidationFailed,
    WrongPassword,
)
from app.models.user import User
from app.schemas.auth import (
    AccessToken,
    LogoutRequest,
    ReauthenticateRequest,
    RefreshRequest,
    TokenPair,
    UserLogin,
)
from app.schemas.users import RegistrationPending, UserCreate, UserResponse
from app.services import access, accounts, refresh, sessions, signing_in

GivenRefresh = Annotated[RefreshRequest | None, Body()]
router = StrictRouter(prefix="/auth", tags=["auth"], dependencies=[Depends(no_store)])


@router.post(
    "/register",
    response_model=UserResponse | RegistrationPending,
    status_code=201,
    responses={
        202: {"model": RegistrationPending, "description": "Where signing in needs a verified email"},
        **raises(EmailTaken, RegistrationClosed, InvitationNeeded),
    },
    dependencies=[limit("register")],
)
async def register(new: UserCreate, db: DB, language: Language, response: Response) -> User | RegistrationPending:
    """Create an account. A verification email follows, in the language that Accept-Language asks for."""
    made = await accounts.register(db, new, language)
    if made is None:
        response.status_code = 202
        return RegistrationPending()
    return made


# Mostly answered by the short way, as is /refresh, with the same services: `app/api/shortcut.py`.
@router.post("/login", dependencies=[limit("login")], responses=raises(InvalidCredentials, EmailNotVerified))
async def login(given: UserLogin, db: DB, response: Response, delivery: Delivery = "body") -> TokenPair | AccessToken:
    """Sign in with email and password."""
    pair = await signing_in.login(db, given)
    return browser.deliver(response, pair) if delivery == "cookie" else pair


@router.post(
    "/token",
    response_model=TokenPair,
    openapi_extra=FORM,
    responses={400: {"model": OAuthError}},
    dependencies=[limit("login")],
)
async def token(request: Request, db: DB) -> Any:
    """Sign in or refresh as an OAuth 2.0 client does (RFC 6749): the grants `password` and `refresh_token`."""
    return await grant(db, await token_form(request))


@router.post(
    "/refresh",
    dependencies=[limit("general")],
    responses=raises(InvalidRefreshToken, RefreshTokenReused, SessionRevoked, CsrfFailed),
)
async def refresh_tokens(
    request: Request,
    response: Response,
    db: DB,
    cookie: RefreshCookie = None,
    given: GivenRefresh = None,
) -> TokenPair | AccessToken:
    """Spend a refresh token for a new pair, from the body or else from the cookie, and answer it the same way.

    Presenting a spent one ends the session.
    """
    if given:
        return await refresh.refresh(db, given.refresh_token)
    if not cookie:
        raise InvalidRefreshToken("There is no refresh token, neither in the body nor in the cookie")
    with browser.taken(request):
        return browser.deliver(response, await refresh.refresh(db, cookie))


@router.post(
    "/logout",
    status_code=204,
    dependencies=[limit("general")],
    responses=raises(NotAuthenticated, InvalidAccessToken, InvalidRefreshToken, CsrfFailed),
    openapi_extra={"security": [{}]},  # a refresh token is enough
)
async def logout(
    request: Request,
    response: Response,
    db: DB,
    bearer: Bearer,
    cookie: RefreshCookie = None,
    given: Annotated[LogoutRequest | None, Body()] = None,
) -> None:
    """End the session of the bearer token, or of the refresh token in the body or else in the cookie.

    Doing it twice is no fault.
    """
    presented = given.refresh_token if given else None
    if not presented and cookie:
        with browser.taken(request):
            await _log_out(db, bearer, cookie, f"/cookie/{browser.COOKIE}")
        browser.forget(response)
    elif presented or bearer:
        await _log_out(db, bearer, presented, "/refresh_token")
    else:
        raise NotAuthenticated


async def _log_out(db: DB, bearer: str | None, presented: str | None, place: str) -> None:
    """End the session that the tokens name; `place` points to the refresh token."""
    named: set[tuple[UUID, UUID]] = set()
    if presented:
        _, session, user = await refresh.look_up(db, presented)
        named.add((user.id, session.id))
    if bearer:
        claims = await access.claims_of(bearer, even_expired=bool(presented))
        named.add((claims.user_id, claims.session_id))
    if len(named) > 1:
        raise ValidationFailed.at(place, "session_mismatch", "The two tokens belong to different sessions.")
    await sessions.log_out(db, *named.pop())


@router.post("/reauthenticate", status_code=204, dependencies=[limit("password")], responses=raises(WrongPassword))
async def reauthenticate(given: ReauthenticateRequest, db: DB, principal: CurrentPrincipal) -> None:
    """Give the password again: the session counts as fresh for 15 minutes."""
    await accounts.reauthenticate(db, principal, given.password)

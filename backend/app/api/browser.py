"""Browser mode: the refresh token in a cookie that no script can read, and that no other site can make a page use."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

from fastapi import Cookie, Header, Request, Response

from app.core.config import settings
from app.core.errors import CsrfFailed, InvalidRefreshToken, RefreshTokenReused, SessionRevoked
from app.schemas.auth import AccessToken, TokenPair

COOKIE = "__Secure-refresh"
_ATTRIBUTES = "Path=/api/v1/auth; HttpOnly; Secure; SameSite=Strict"
EXPIRED = f"{COOKIE}=; Max-Age=0; {_ATTRIBUTES}"

Delivery = Annotated[
    Literal["body", "cookie"],
    Header(alias="X-Token-Delivery", description="`cookie`: the refresh token goes into a cookie, not into the body."),
]
RefreshCookie = Annotated[
    str | None,
    Cookie(
        alias=COOKIE,
        description="Taken where the body has no token. Needs `Sec-Fetch-Site: same-origin` or an allowed `Origin`.",
    ),
]


def deliver(response: Response, pair: TokenPair) -> AccessToken:
    """Put the refresh token into its cookie; the rest is for the body."""
    response.headers["Set-Cookie"] = f"{COOKIE}={pair.refresh_token}; Max-Age={pair.refresh_expires_in}; {_ATTRIBUTES}"
    return AccessToken.model_validate(pair.model_dump(exclude={"refresh_token"}))


def forget(response: Response) -> None:
    """Have the browser drop the cookie and what else it keeps of this origin."""
    response.headers["Set-Cookie"] = EXPIRED
    response.headers["Clear-Site-Data"] = '"cookies", "storage"'


@contextmanager
def taken(request: Request) -> Iterator[None]:
    """Around the use of the cookie's token: a dead one is not kept by the browser.

    Raises:
        CsrfFailed: the request does not come from a page of ours.
    """
    if request.headers.get("sec-fetch-site") != "same-origin" and request.headers.get("origin") not in settings.origins:
        raise CsrfFailed
    try:
        yield
    except (InvalidRefreshToken, RefreshTokenReused, SessionRevoked) as error:
        error.extra_headers["Set-Cookie"] = EXPIRED
        raise

"""Maintenance: everybody is asked to come back, but those who may change the configuration, and who looks at health."""

import re

from app.api.limits import EXEMPT
from app.core import declared
from app.core.errors import Maintenance
from app.core.permissions import Permission
from app.services import access

# An admin has to be able to sign in: who is none is refused there once the password or the token has said who it is.
_SIGN_IN = frozenset(f"/api/v1/auth/{name}" for name in ("login", "token", "refresh", "logout"))
_BEARER = re.compile(rb"(?i:bearer) +([A-Za-z0-9._-]+) *")


async def admit(path: str, authorization: bytes) -> None:
    """Let a request pass during maintenance.

    Raises:
        Maintenance; InvalidAccessToken, SessionRevoked: who it is cannot be known by this token.
    """
    if path in EXEMPT or path in _SIGN_IN:
        return
    bearer = _BEARER.fullmatch(authorization)
    if bearer is not None:
        principal = (await access.known(bearer[1])).principal
        if Permission.config_write in principal.permissions:
            return
    raise Maintenance.until(declared.maintenance_retry_after().total_seconds())

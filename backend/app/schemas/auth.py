"""Signing in and out over the wire."""

from typing import Literal

from pydantic import Field

from app.schemas.base import Input, Output
from app.schemas.users import Email, NewPassword, Password


class UserLogin(Input):
    email: Email
    password: Password = Field(repr=False)


class RefreshRequest(Input):
    refresh_token: str = Field(min_length=1, max_length=512, repr=False)


class LogoutRequest(Input):
    refresh_token: str | None = Field(default=None, min_length=1, max_length=512, repr=False)


class VerifyRequest(Input):
    token: str = Field(min_length=1, max_length=512, repr=False)


class AddressRequest(Input):
    email: Email


class PasswordReset(Input):
    token: str = Field(min_length=1, max_length=512, repr=False)
    new_password: NewPassword = Field(repr=False)


class PasswordChange(Input):
    current_password: Password = Field(repr=False)
    new_password: NewPassword = Field(repr=False)


class EmailChange(Input):
    new_email: Email
    current_password: Password = Field(repr=False)


class Accepted(Output):
    """The answer to every request for a mail: it tells nothing of who exists."""

    status: Literal["accepted"] = "accepted"


class ReauthenticateRequest(Input):
    password: Password = Field(repr=False)


class AccessToken(Output):
    """What the body has when the refresh token goes into a cookie."""

    access_token: str = Field(repr=False)
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - the scheme's name, no secret
    expires_in: int = Field(description="seconds")
    refresh_expires_in: int = Field(description="seconds")


class TokenPair(AccessToken):
    """An access token, and the refresh token that is spent for the next pair."""

    refresh_token: str = Field(repr=False)

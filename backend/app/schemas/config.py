"""The public configuration over the wire."""

from typing import Any

from pydantic import Field

from app.schemas.base import Output


class AppConfig(Output):
    name: str
    version: str
    environment: str


class PasswordBounds(Output):
    min_length: int = Field(description="characters")
    max_length: int = Field(description="characters")


class AuthConfig(Output):
    """What is switched on around accounts."""

    registration: bool
    require_verified_email: bool
    browser_mode: bool = Field(description="the refresh token in a cookie, for pages")
    password: PasswordBounds


class PublicConfig(Output):
    app: AppConfig
    auth: AuthConfig
    limits: dict[str, Any] = Field(description="public dynamic settings")
    flags: dict[str, Any] = Field(description="feature flags, evaluated for the caller")

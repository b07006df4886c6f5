"""What the URLs of other servers must be, and that production speaks to them over verified TLS.

A rule raises a ValueError whose text follows the variable's name, and holds no value.
"""

import re
from enum import StrEnum
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationInfo, field_validator

from app.core import tls


class Environment(StrEnum):
    development = "development"
    test = "test"
    production = "production"


class ServerRules(BaseModel):
    """The rules of URLs, apart from the fields, which `Settings` declares."""

    @field_validator("database_url", "migration_database_url", check_fields=False)
    @classmethod
    def _database(cls, value: str, info: ValidationInfo) -> str:
        own = info.field_name == "database_url"
        if not value:
            value = f"sqlite:///{info.data.get('data_dir')}/neoforge.db" if own else info.data.get("database_url", "")
        scheme = value.partition("://")[0].partition("+")[0]
        if not own and not value:
            return value
        require(scheme in ("postgresql", "postgres", "sqlite"), "must begin with postgresql:// or sqlite:///")
        if own and scheme == "sqlite" and production(info):
            require(
                info.data.get("allow_sqlite_in_production", False),
                "is SQLite: set a postgresql:// URL, "
                "or ALLOW_SQLITE_IN_PRODUCTION=true if one machine is what you want",
            )
        require(not is_malformed(value), "is not a URL: see its port, and the brackets of an IPv6 address")
        _safe_on_the_way(value, info, "?sslmode=verify-full")
        return re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", value)

    @field_validator("redis_url", "broker_url", check_fields=False)
    @classmethod
    def _redis(cls, value: str, info: ValidationInfo) -> str:
        own = info.field_name == "redis_url"
        if not value and own:
            require(not production(info), "is needed in production")
        scheme = value.partition("://")[0]
        known = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
        require(
            not value or scheme in known, "must begin with redis://, rediss://, redis+sentinel:// or redis+cluster://"
        )
        _safe_on_the_way(value, info, "rediss:// with the certificate checked")
        if not own:
            effective = value or info.data.get("redis_url", "")
            require(
                "+cluster" not in effective.partition("://")[0],
                "must be a single Redis or Sentinel: Celery cannot use a cluster (set BROKER_URL)",
            )
        return value

    @field_validator("smtp_url", check_fields=False)
    @classmethod
    def _smtp(cls, value: str, info: ValidationInfo) -> str:
        require(bool(value) or not production(info), "is needed in production")
        parts = urlsplit(value)
        require(
            not value or (parts.scheme in ("smtp", "smtps") and bool(parts.hostname)),
            "must begin with smtp:// or smtps:// and name a host",
        )
        return value

    @field_validator("breach_check_url", check_fields=False)
    @classmethod
    def _breach(cls, value: str, info: ValidationInfo) -> str:
        if not value:
            return value
        parts = urlsplit(value)
        require(parts.scheme in ("http", "https") and bool(parts.hostname), "must be an http(s) URL")
        require(not (parts.query or parts.fragment or parts.username), "must have no query, fragment or user")
        distant = tls.distant_hosts(value, info.data.get("plaintext_hosts", ()))
        require(parts.scheme == "https" or not (production(info) and distant), "must be https in production")
        return value


def _safe_on_the_way(url: str, info: ValidationInfo, how: str) -> None:
    """Require verified TLS in production, but for this machine and the hosts that PLAINTEXT_HOSTS names."""
    try:
        distant = tls.distant_hosts(url, info.data.get("plaintext_hosts", ()))
        verified = tls.is_verified(url)
    except ValueError:
        raise ValueError("is not a URL") from None
    require(
        not production(info) or not distant or verified,
        f"leads over the network: production needs {how}, or its host's name in PLAINTEXT_HOSTS",
    )


def is_malformed(url: str) -> bool:
    """Whether the port of a database's URL is no port, or a bracket of its host is missing."""
    place = url.partition("://")[2].partition("@")
    try:
        _ = urlsplit(f"//{place[2] or place[0]}").port
    except ValueError:
        return True
    return False


def production(info: ValidationInfo) -> bool:
    return info.data.get("environment") is Environment.production


def require(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)

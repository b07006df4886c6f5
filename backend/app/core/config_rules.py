"""What each setting must be, and where it must be more careful: in production.

A rule raises a ValueError whose text follows the variable's name, and holds no value.
"""

import ipaddress
import re
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationInfo, field_validator

from app.core import tls

ROOT = Path(__file__).resolve().parents[3]
"""The project's root: where the Makefile and `.venv` are (in the image: the parent of the backend's folder)."""

PUBLISHED_SECRETS = ("change-me", "changeme", "secret", "your-secret-key", "supersecret", "development", "example")
"""Words that stand in tutorials and samples; a secret that is built on one of them is no secret."""


class Environment(StrEnum):
    development = "development"
    test = "test"
    production = "production"


_LISTS = ("allowed_origins", "allowed_hosts", "trusted_proxies", "plaintext_hosts")


class SettingsRules(BaseModel):
    """The rules, apart from the fields, which `Settings` declares. A rule may look only at fields above its own."""

    @field_validator(
        "allowed_origins", "allowed_hosts", "trusted_proxies", "plaintext_hosts", mode="before", check_fields=False
    )
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("log_level", mode="before", check_fields=False)
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @field_validator("data_dir", check_fields=False)
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return (value if value.is_absolute() else ROOT / value).resolve()

    @field_validator("debug", check_fields=False)
    @classmethod
    def _no_debug(cls, value: bool, info: ValidationInfo) -> bool:
        _require(not (value and _production(info)), "is refused in production")
        return value

    @field_validator("database_url", "migration_database_url", check_fields=False)
    @classmethod
    def _database(cls, value: str, info: ValidationInfo) -> str:
        own = info.field_name == "database_url"
        if not value:
            value = f"sqlite:///{info.data.get('data_dir')}/neoforge.db" if own else info.data.get("database_url", "")
        scheme = value.partition("://")[0].partition("+")[0]
        if not own and not value:
            return value
        _require(scheme in ("postgresql", "postgres", "sqlite"), "must begin with postgresql:// or sqlite:///")
        if own and scheme == "sqlite" and _production(info):
            _require(
                info.data.get("allow_sqlite_in_production", False),
                "is SQLite: set a postgresql:// URL, "
                "or ALLOW_SQLITE_IN_PRODUCTION=true if one machine is what you want",
            )
        _safe_on_the_way(value, info, "?sslmode=verify-full")
        return re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", value)

    @field_validator("redis_url", "broker_url", check_fields=False)
    @classmethod
    def _redis(cls, value: str, info: ValidationInfo) -> str:
        own = info.field_name == "redis_url"
        if not value and own:
            _require(not _production(info), "is needed in production")
        scheme = value.partition("://")[0]
        known = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
        _require(
            not value or scheme in known, "must begin with redis://, rediss://, redis+sentinel:// or redis+cluster://"
        )
        _safe_on_the_way(value, info, "rediss:// with the certificate checked")
        if not own:
            effective = value or info.data.get("redis_url", "")
            _require(
                "+cluster" not in effective.partition("://")[0],
                "must be a single Redis or Sentinel: Celery cannot use a cluster (set BROKER_URL)",
            )
        return value

    @field_validator("secret_key", check_fields=False)
    @classmethod
    def _secret(cls, value: str, info: ValidationInfo) -> str:
        file = info.data.get("secret_key_file")
        if file is not None:
            _require(not value, "and SECRET_KEY_FILE are both set: keep one")
            try:
                value = Path(file).read_text().strip()
            except (OSError, UnicodeDecodeError):
                _require(False, "cannot be read from SECRET_KEY_FILE")
        if not value:
            _require(not _production(info), "is needed in production: 32 random bytes, e.g. `openssl rand -base64 48`")
            return value
        _require(len(value.encode()) >= 32, "is too short: 32 random bytes or more")
        if _production(info):
            _require(
                not any(word in value.lower() for word in PUBLISHED_SECRETS), "is a published example, not a secret"
            )
            _require(len(set(value)) >= 12, "is not random")
        return value

    @field_validator("public_url", check_fields=False)
    @classmethod
    def _public(cls, value: str, info: ValidationInfo) -> str:
        host = str(info.data.get("host", ""))
        if not value:
            _require(not _production(info), "is needed in production, e.g. https://api.example.com")
            return f"http://{f'[{host}]' if ':' in host else host}:{info.data.get('port')}"
        parts = urlsplit(value)
        _require(parts.scheme in ("http", "https") and bool(parts.hostname), "must be an http(s) URL")
        _require(not (parts.query or parts.fragment or parts.username), "must have no query, fragment or user")
        if _production(info):
            local = parts.hostname in ("localhost", "127.0.0.1", "::1")
            _require(parts.scheme == "https" or local, "must be https in production")
        return value.rstrip("/")

    @field_validator("allowed_origins", check_fields=False)
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            parts = urlsplit(origin)
            exact = parts.scheme in ("http", "https") and parts.netloc and origin == f"{parts.scheme}://{parts.netloc}"
            _require("*" not in origin and bool(exact), "must be exact origins like https://app.example.com, never *")
        return value

    @field_validator("allowed_hosts", "plaintext_hosts", check_fields=False)
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        _require(not any("*" in host or "/" in host for host in value), "must be host names without scheme, path or *")
        return tuple(host.lower() for host in value)

    @field_validator("trusted_proxies", check_fields=False)
    @classmethod
    def _proxies(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(str(ipaddress.ip_network(network, strict=False)) for network in value)
        except ValueError:
            raise ValueError("must be networks like 10.0.0.0/8") from None

    @field_validator("smtp_url", check_fields=False)
    @classmethod
    def _smtp(cls, value: str, info: ValidationInfo) -> str:
        _require(bool(value) or not _production(info), "is needed in production")
        parts = urlsplit(value)
        _require(
            not value or (parts.scheme in ("smtp", "smtps") and bool(parts.hostname)),
            "must begin with smtp:// or smtps:// and name a host",
        )
        return value

    @field_validator("mail_from", check_fields=False)
    @classmethod
    def _sender(cls, value: str, info: ValidationInfo) -> str:
        _require("@" in value and not any(c in value for c in "\r\n"), "must be an email address")
        _require(not (_production(info) and value.endswith("@localhost")), "is needed in production")
        return value

    @field_validator("security_contact", check_fields=False)
    @classmethod
    def _contact(cls, value: str) -> str:
        _require(
            not value
            or (value.startswith(("mailto:", "https://", "tel:")) and value.isprintable() and " " not in value),
            "must be one address that begins with mailto:, https:// or tel:",
        )
        return value

    @field_validator("require_verified_email", mode="before", check_fields=False)
    @classmethod
    def _verified(cls, value: Any, info: ValidationInfo) -> Any:
        # An unset variable arrives as the default itself; what was said in words arrives as a string.
        return _production(info) if value is False else value


def _production(info: ValidationInfo) -> bool:
    return info.data.get("environment") is Environment.production


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)


def _safe_on_the_way(url: str, info: ValidationInfo, how: str) -> None:
    """Require verified TLS in production, but for this machine and the hosts that PLAINTEXT_HOSTS names."""
    try:
        distant = tls.distant_hosts(url, info.data.get("plaintext_hosts", ()))
        verified = tls.is_verified(url)
    except ValueError:
        raise ValueError("is not a URL") from None
    _require(
        not _production(info) or not distant or verified,
        f"leads over the network: production needs {how}, or its host's name in PLAINTEXT_HOSTS",
    )

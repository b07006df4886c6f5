"""What each setting must be, and where it must be more careful: in production.

A rule raises a ValueError whose text follows the variable's name, and holds no value.
"""

import ipaddress
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationInfo, field_validator

from app.core.config_servers import ServerRules, production, require

ROOT = Path(__file__).resolve().parents[3]
"""The project's root: where the Makefile and `.venv` are (in the image: the parent of the backend's folder)."""

PUBLISHED_SECRETS = ("change-me", "changeme", "secret", "your-secret-key", "supersecret", "development", "example")
"""Words that stand in tutorials and samples; a secret that is built on one of them is no secret."""


class SettingsRules(ServerRules):
    """The rules, apart from the fields, which `Settings` declares. A rule may look only at fields above its own."""

    @field_validator(
        "allowed_origins",
        "allowed_hosts",
        "trusted_proxies",
        "plaintext_hosts",
        "task_queues",
        mode="before",
        check_fields=False,
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
        require(not (value and production(info)), "is refused in production")
        return value

    @field_validator("secret_key", check_fields=False)
    @classmethod
    def _secret(cls, value: str, info: ValidationInfo) -> str:
        file = info.data.get("secret_key_file")
        if file is not None:
            require(not value, "and SECRET_KEY_FILE are both set: keep one")
            try:
                value = Path(file).read_text().strip()
            except (OSError, UnicodeDecodeError):
                require(False, "cannot be read from SECRET_KEY_FILE")
        if not value:
            require(not production(info), "is needed in production: 32 random bytes, e.g. `openssl rand -base64 48`")
            return value
        require(len(value.encode()) >= 32, "is too short: 32 random bytes or more")
        if production(info):
            require(
                not any(word in value.lower() for word in PUBLISHED_SECRETS), "is a published example, not a secret"
            )
            require(len(set(value)) >= 12, "is not random")
        return value

    @field_validator("public_url", check_fields=False)
    @classmethod
    def _public(cls, value: str, info: ValidationInfo) -> str:
        host = str(info.data.get("host", ""))
        if not value:
            require(not production(info), "is needed in production, e.g. https://api.example.com")
            return f"http://{f'[{host}]' if ':' in host else host}:{info.data.get('port')}"
        parts = urlsplit(value)
        require(parts.scheme in ("http", "https") and bool(parts.hostname), "must be an http(s) URL")
        require(not (parts.query or parts.fragment or parts.username), "must have no query, fragment or user")
        if production(info):
            local = parts.hostname in ("localhost", "127.0.0.1", "::1")
            require(parts.scheme == "https" or local, "must be https in production")
        return value.rstrip("/")

    @field_validator("allowed_origins", check_fields=False)
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            parts = urlsplit(origin)
            exact = parts.scheme in ("http", "https") and parts.netloc and origin == f"{parts.scheme}://{parts.netloc}"
            require("*" not in origin and bool(exact), "must be exact origins like https://app.example.com, never *")
        return value

    @field_validator("allowed_hosts", "plaintext_hosts", check_fields=False)
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        require(not any("*" in host or "/" in host for host in value), "must be host names without scheme, path or *")
        return tuple(host.lower() for host in value)

    @field_validator("trusted_proxies", check_fields=False)
    @classmethod
    def _proxies(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(str(ipaddress.ip_network(network, strict=False)) for network in value)
        except ValueError:
            raise ValueError("must be networks like 10.0.0.0/8") from None

    @field_validator("mail_from", check_fields=False)
    @classmethod
    def _sender(cls, value: str, info: ValidationInfo) -> str:
        require("@" in value and not any(c in value for c in "\r\n"), "must be an email address")
        require(not (production(info) and value.endswith("@localhost")), "is needed in production")
        return value

    @field_validator("task_queues", check_fields=False)
    @classmethod
    def _queues(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        fit = all(re.fullmatch(r"[a-z][a-z0-9_-]{0,31}", name) for name in value)
        require(fit and "default" in value, "must be names like `default,reports`, and `default` among them")
        return value

    @field_validator("security_contact", check_fields=False)
    @classmethod
    def _contact(cls, value: str) -> str:
        require(
            not value
            or (value.startswith(("mailto:", "https://", "tel:")) and value.isprintable() and " " not in value),
            "must be one address that begins with mailto:, https:// or tel:",
        )
        return value

    @field_validator("require_verified_email", mode="before", check_fields=False)
    @classmethod
    def _verified(cls, value: Any, info: ValidationInfo) -> Any:
        # An unset variable arrives as the default itself; what was said in words arrives as a string.
        return production(info) if value is False else value

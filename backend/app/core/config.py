"""Every setting of the service, read once from the environment (and from `.env` beside the Makefile, outside tests).

`settings` is frozen. Reading it from a wrong environment raises one `SettingsError` that names every wrong variable and
no value, before anything listens.
"""

import ipaddress
import json
import os
import re
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

ROOT = Path(__file__).resolve().parents[3]
"""The project's root: where the Makefile and `.venv` are (in the image: the parent of the backend's folder)."""

SECRETS_FOLDER = Path("/run/secrets")
"""Where containers keep secrets: a file with a variable's name in lower case stands in for that variable."""

PUBLISHED_SECRETS = ("change-me", "changeme", "secret", "your-secret-key", "supersecret", "development", "example")
"""Words that stand in tutorials and samples; a secret that is built on one of them is no secret."""

CommaList = Annotated[tuple[str, ...], NoDecode]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class SettingsError(Exception):
    """The environment does not fit. The message is one line that names each wrong variable, never its value."""


class Environment(StrEnum):
    development = "development"
    test = "test"
    production = "production"


class Settings(BaseSettings):
    """The environment, typed. Field order matters: a rule may look only at fields above it."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True, validate_default=True)

    environment: Environment = Field(Environment.development, description="development, test or production")
    debug: bool = Field(False, description="log every SQL statement (without its values); refused in production")
    host: str = Field("127.0.0.1", description="address the API listens on")
    port: int = Field(8000, ge=0, le=65535, description="port the API listens on")
    data_dir: Path = Field(ROOT / ".data", description="all that the embedded stack keeps: database, Valkey, secrets")

    allow_sqlite_in_production: bool = Field(False, description="the explicit yes that SQLite needs in production")
    database_url: str = Field("", description="postgresql://… or sqlite:///…; default: SQLite in DATA_DIR")
    migration_database_url: str = Field("", description="the role that owns the schema; default: DATABASE_URL")
    db_pool_size: int = Field(10, ge=1, le=200, description="database connections kept by one process")
    redis_url: str = Field(
        "", description="redis://, rediss://, redis+sentinel://, redis+cluster://; default: embedded"
    )
    redis_prefix: str = Field("", max_length=64, description="before every key; default: from an id in the database")
    broker_url: str = Field("", description="Celery's Redis; default: REDIS_URL")

    secret_key_file: Path | None = Field(None, description="file that holds SECRET_KEY")
    secret_key: str = Field("", repr=False, description="what every secret is derived from, 32 random bytes or more")
    public_url: str = Field("", description="what links, issuer and cookies are built on; default: http://HOST:PORT")
    allowed_origins: CommaList = Field((), description="origins that browsers may call from, by comma")
    allowed_hosts: CommaList = Field((), description="Host headers that are answered, by comma")
    trusted_proxies: CommaList = Field((), description="networks whose X-Forwarded-For is believed, by comma")

    smtp_url: str = Field("", repr=False, description="smtp:// or smtps://user:password@host:port; default: mailbox")
    mail_from: str = Field("no-reply@localhost", description="sender of every mail; needed in production")
    require_verified_email: bool = Field(False, description="sign in only with a verified email; true in production")
    send_welcome_email: bool = Field(False, description="a welcome mail once the address is verified")
    password_min_length: int = Field(8, ge=8, le=64, description="characters; 15 for NIST SP 800-63B-4")
    hash_threads: int = Field(2, ge=1, le=64, description="Argon2id computations at once in one process")
    worker_concurrency: int = Field(2, ge=1, le=256, description="tasks that one worker runs at once")
    relay_ahead: int = Field(200, ge=1, le=100_000, description="tasks rung ahead of the workers, a queue")

    metrics_token: str = Field("", repr=False, description="bearer for /metrics in production")
    docs_enabled: bool | None = Field(None, description="serve /docs, /redoc and /openapi.json; not in production")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="lowest level logged")
    log_format: Literal["json", "console"] | None = Field(None, description="json or console; json in production")
    shutdown_timeout: int = Field(20, ge=0, le=600, description="seconds for open requests and tasks to end on SIGTERM")

    # --- single fields ---

    @field_validator("allowed_origins", "allowed_hosts", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return (value if value.is_absolute() else ROOT / value).resolve()

    @field_validator("debug")
    @classmethod
    def _no_debug(cls, value: bool, info: ValidationInfo) -> bool:
        _require(not (value and _production(info)), "is refused in production")
        return value

    @field_validator("database_url", "migration_database_url")
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
        return re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", value)

    @field_validator("redis_url", "broker_url")
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
        if not own:
            effective = value or info.data.get("redis_url", "")
            _require(
                "+cluster" not in effective.partition("://")[0],
                "must be a single Redis or Sentinel: Celery cannot use a cluster (set BROKER_URL)",
            )
        return value

    @field_validator("secret_key")
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

    @field_validator("public_url")
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

    @field_validator("allowed_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            parts = urlsplit(origin)
            exact = parts.scheme in ("http", "https") and parts.netloc and origin == f"{parts.scheme}://{parts.netloc}"
            _require("*" not in origin and bool(exact), "must be exact origins like https://app.example.com, never *")
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        _require(not any("*" in host or "/" in host for host in value), "must be host names without scheme, path or *")
        return tuple(host.lower() for host in value)

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(str(ipaddress.ip_network(network, strict=False)) for network in value)
        except ValueError:
            raise ValueError("must be networks like 10.0.0.0/8") from None

    @field_validator("smtp_url")
    @classmethod
    def _smtp(cls, value: str, info: ValidationInfo) -> str:
        _require(bool(value) or not _production(info), "is needed in production")
        parts = urlsplit(value)
        _require(
            not value or (parts.scheme in ("smtp", "smtps") and bool(parts.hostname)),
            "must begin with smtp:// or smtps:// and name a host",
        )
        return value

    @field_validator("mail_from")
    @classmethod
    def _sender(cls, value: str, info: ValidationInfo) -> str:
        _require("@" in value and not any(c in value for c in "\r\n"), "must be an email address")
        _require(not (_production(info) and value.endswith("@localhost")), "is needed in production")
        return value

    @field_validator("require_verified_email", mode="before")
    @classmethod
    def _verified(cls, value: Any, info: ValidationInfo) -> Any:
        # An unset variable arrives as the default itself; what was said in words arrives as a string.
        return _production(info) if value is False else value

    # --- what follows from them ---

    @property
    def is_production(self) -> bool:
        return self.environment is Environment.production

    @property
    def serves_docs(self) -> bool:
        return not self.is_production if self.docs_enabled is None else self.docs_enabled

    @property
    def logs_json(self) -> bool:
        return self.is_production if self.log_format is None else self.log_format == "json"

    @cached_property
    def hosts(self) -> frozenset[str]:
        """Host names that are answered, lower-case, without ports."""
        public = (urlsplit(self.public_url).hostname or "").lower()
        own = {public} if self.is_production else {public, self.host.lower(), "localhost", "127.0.0.1", "::1"}
        return frozenset(own | {host.strip("[]") for host in self.allowed_hosts})

    @cached_property
    def origins(self) -> tuple[str, ...]:
        """Origins that a browser may call from: the public URL's own and the listed ones."""
        parts = urlsplit(self.public_url)
        return (f"{parts.scheme}://{parts.netloc}", *self.allowed_origins)

    @cached_property
    def proxies(self) -> tuple[Network, ...]:
        return tuple(ipaddress.ip_network(network) for network in self.trusted_proxies)

    def embedded(self, what: Literal["redis_url", "smtp_url"]) -> str:
        """Where `make dev` runs this part, from the file it keeps in DATA_DIR; empty when it does not run."""
        try:
            return str(json.loads((self.data_dir / "stack.json").read_text()).get(what, ""))
        except (OSError, ValueError):
            return ""

    @classmethod
    def load(cls) -> Self:
        """Read the environment.

        Raises:
            SettingsError: every wrong variable by name, with what to do, and no value.
        """
        outside = os.environ.get("ENVIRONMENT") != Environment.test
        try:
            return cls(
                _env_file=ROOT / ".env" if outside else None,
                _secrets_dir=SECRETS_FOLDER if outside and SECRETS_FOLDER.is_dir() else None,
            )
        except OSError as error:
            raise SettingsError(f"settings: {error.filename} cannot be read: {error.strerror}") from None
        except ValidationError as error:
            faults = (f"{str(e['loc'][0]).upper()} {_plain(e['msg'])}" for e in error.errors(include_input=False))
            raise SettingsError("settings: " + "; ".join(faults)) from None


def _production(info: ValidationInfo) -> bool:
    return info.data.get("environment") is Environment.production


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)


def _plain(message: str) -> str:
    return message.removeprefix("Value error, ").replace("Input should", "should").replace("\n", " ")


settings = Settings.load()

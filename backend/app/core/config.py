"""Every setting of the service, read once from the environment (and from `.env` beside the Makefile, outside tests).

`settings` is frozen. Reading it from a wrong environment raises one `SettingsError` that names every wrong variable and
no value, before anything listens.
"""

import ipaddress
import json
import os
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.core.config_rules import ROOT, SettingsRules
from app.core.config_servers import Environment
from app.core.rate import RateText
from app.core.tls import is_local

__all__ = ["ROOT", "SECRETS_FOLDER", "Environment", "Settings", "SettingsError", "settings"]

SECRETS_FOLDER = Path("/run/secrets")
"""Where containers keep secrets: a file with a variable's name in lower case stands in for that variable."""

HTTP_PORT = 80

CommaList = Annotated[tuple[str, ...], NoDecode]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class SettingsError(Exception):
    """The environment does not fit. The message is one line that names each wrong variable, never its value."""


class Settings(SettingsRules, BaseSettings):
    """The environment, typed. Field order matters: a rule may look only at fields above it."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True, validate_default=True)

    environment: Environment = Field(Environment.development, description="development, test or production")
    debug: bool = Field(False, description="log every SQL statement (without its values); refused in production")
    host: str = Field("127.0.0.1", description="address the API listens on")
    port: int = Field(8000, ge=0, le=65535, description="port the API listens on")
    data_dir: Path = Field(ROOT / ".data", description="all that the embedded stack keeps: database, Valkey, secrets")

    plaintext_hosts: CommaList = Field(
        (), description="hosts that production may speak to without verified TLS, by comma; this machine always"
    )
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
    breach_check_url: str = Field("", description="service of breached passwords by range of SHA-1; none: not asked")
    sessions_per_user: int = Field(20, ge=1, le=1_000, description="sign-ins of one account; past it the oldest ends")
    hash_threads: int = Field(2, ge=1, le=64, description="Argon2id computations at once in one process")
    audit_origins_kept_days: int = Field(90, ge=1, le=3650, description="days that addresses stay beside the audit")
    worker_concurrency: int = Field(2, ge=1, le=256, description="tasks that one worker runs at once")
    relay_ahead: int = Field(200, ge=1, le=100_000, description="tasks rung ahead of the workers, a queue")
    task_queues: CommaList = Field(("default",), description="queues that tasks can be put into, by comma")
    task_events: bool = Field(False, description="have workers tell Celery's monitors (Flower) of every task")
    tasks_kept_days: int = Field(30, ge=1, le=3650, description="days that tasks stay after they ended well")
    failed_tasks_kept_days: int = Field(90, ge=1, le=3650, description="days that failed tasks stay")
    streams: int = Field(1_000, ge=1, le=100_000, description="event streams that one process keeps open at once")
    metrics_host: str = Field("127.0.0.1", description="address of the metrics of workers and schedulers")
    worker_metrics_port: int = Field(9101, ge=0, le=65535, description="port of a worker's /metrics; 0: any free one")
    scheduler_metrics_port: int = Field(9102, ge=0, le=65535, description="port of a scheduler's; 0: any free one")

    rate_limit_enabled: bool = Field(True, description="limits per client and per account; false turns all of them off")
    rate_limit_processes: int = Field(
        0, ge=0, le=10_000, description="API processes on all machines; 0: as many as --workers"
    )
    rate_limit_general: RateText = Field("600/minute", description="any request, a client; false: no limit")
    rate_limit_login: RateText = Field("10/minute", description="login and token together, a client")
    rate_limit_account: RateText = Field("20/hour", description="failed sign-ins of one account; then one a minute")
    rate_limit_password: RateText = Field("10/minute", description="giving the password again when signed in, a client")
    rate_limit_register: RateText = Field("5/minute", description="registrations, a client")
    rate_limit_forgot: RateText = Field("3/hour", description="forgotten passwords, an email address")
    rate_limit_resend: RateText = Field("3/hour", description="verification mails asked for again, an email address")

    security_contact: str = Field("", description="mailto:, https: or tel: address for security.txt; none: no file")
    metrics_token: str = Field("", repr=False, description="bearer for /metrics in production")
    docs_enabled: bool | None = Field(None, description="serve /docs, /redoc and /openapi.json; not in production")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="lowest level logged")
    log_format: Literal["json", "console"] | None = Field(None, description="json or console; json in production")
    drain_seconds: int = Field(0, ge=0, le=120, description="seconds that readiness says 503 before a stop on SIGTERM")
    shutdown_timeout: int = Field(20, ge=0, le=600, description="seconds for open requests and tasks to end on SIGTERM")

    # --- what follows from them ---

    @property
    def is_production(self) -> bool:
        return self.environment is Environment.production

    def needs_tls(self, host: str) -> bool:
        """Whether `host` may be spoken to over verified TLS alone."""
        return self.is_production and not is_local(host) and host.lower() not in self.plaintext_hosts

    @property
    def serves_docs(self) -> bool:
        return not self.is_production if self.docs_enabled is None else self.docs_enabled

    @property
    def logs_json(self) -> bool:
        return self.is_production if self.log_format is None else self.log_format == "json"

    @property
    def processes(self) -> int:
        return self.rate_limit_processes or 1

    @cached_property
    def hosts(self) -> frozenset[str]:
        """Host names that are answered, lower-case, without ports."""
        public = (urlsplit(self.public_url).hostname or "").lower()
        own = {public} if self.is_production else {public, self.host.lower(), "localhost", "127.0.0.1", "::1"}
        return frozenset(own | {host.strip("[]") for host in self.allowed_hosts})

    @cached_property
    def origins(self) -> tuple[str, ...]:
        """Origins that a browser may call from: the public URL's own, the listed ones, in development this machine."""
        parts = urlsplit(self.public_url)
        port = "" if self.port == HTTP_PORT else f":{self.port}"  # a browser leaves out what goes without saying
        local = () if self.is_production else (f"http://{host}{port}" for host in ("localhost", "127.0.0.1", "[::1]"))
        return tuple(dict.fromkeys((f"{parts.scheme}://{parts.netloc}", *self.allowed_origins, *local)))

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


def _plain(message: str) -> str:
    return message.removeprefix("Value error, ").replace("Input should", "should").replace("\n", " ")


settings = Settings.load()

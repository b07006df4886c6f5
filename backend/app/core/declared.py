"""The dynamic settings and flags of this service. Add yours here: a misspelt one is a type error where it is read."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.core import dynamic
from app.core.dynamic import Flag, Visibility
from app.core.kinds import boolean, choice, document, duration, rate


class Registration(StrEnum):
    """Who may register: everybody, nobody, or who has a code of `invitation_codes`."""

    open = "open"
    closed = "closed"
    invitation = "invitation"


class VerifiedEmail(StrEnum):
    """Whether signing in needs a verified email."""

    as_started = "as_started"
    needed = "needed"
    not_needed = "not_needed"


class LogLevel(StrEnum):
    """The least that is logged."""

    as_started = "as_started"
    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


class Codes(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    codes: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(default=[], max_length=1_000)


demo_banner = Flag("demo_banner", "Tell visitors that this is a demonstration.", visibility=Visibility.public)
registration = choice(
    "registration", "Who may register.", default=Registration.open, visibility=Visibility.public, owner="accounts"
)
invitation_codes = document(
    "invitation_codes",
    "What lets somebody register while registration is by invitation.",
    default=Codes(),
    owner="accounts",
)
verified_email = choice(
    "verified_email",
    "Whether signing in needs a verified email; as_started: REQUIRE_VERIFIED_EMAIL.",
    default=VerifiedEmail.as_started,
    owner="accounts",
)
maintenance = boolean(
    "maintenance",
    "Answer 503 to all but health and those who may change the configuration.",
    default=False,
    visibility=Visibility.public,
)
maintenance_retry_after = duration(
    "maintenance_retry_after",
    "What clients are told to wait during maintenance.",
    default=timedelta(minutes=1),
    ge=timedelta(seconds=1),
    le=timedelta(days=1),
)

log_level = choice("log_level", "The least that the API logs; as_started: LOG_LEVEL.", default=LogLevel.as_started)
rate_limits = {
    rule: rate(f"rate_limit_{rule}", f"How often, as 10/minute, or false; as_started: RATE_LIMIT_{rule.upper()}.")
    for rule in ("general", "account", "login", "password", "register", "forgot", "resend")
}
"""By the rules of `services.limits`. RATE_LIMIT_ENABLED=false turns all of them off."""

DECLARED = dynamic.DECLARED
"""All of the above: who goes by keys takes them from here, where they have been declared."""

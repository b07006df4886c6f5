"""Accounts over the wire, and the one form of an email address."""

import re
import unicodedata
from typing import Annotated, Any
from uuid import UUID

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.core.config import settings
from app.schemas.base import Input, Output, Timestamp

PASSWORD_MAX = 128
FORBIDDEN_IN_NAMES = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Control characters and those that turn the direction of what follows."""


WRITTEN_TOGETHER = (
    {"LATIN", "CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "IDEOGRAPHIC"},
    {"LATIN", "CJK", "HANGUL"},
    {"LATIN", "CJK", "BOPOMOFO"},
)
"""Scripts of one language. Source: Unicode Technical Standard 39, section 5.2, "Highly Restrictive"."""


def canonical_email(email: str) -> str:
    """The one form under which an address is stored and found: NFKC, lower-case, its host as IDNA.

    Full-width letters and ligatures fold into plain ones, so that they cannot make a second account. What folds no
    further is not made another address: mail goes where it was said to go. Before the @ stands ASCII, since many mail
    servers take nothing else; a host that mixes scripts is taken for a look-alike of another.

    Raises:
        ValueError: this is no address, or it carries a display name.
    """
    folded = unicodedata.normalize("NFKC", email.strip()).lower()
    try:
        checked = validate_email(
            folded, check_deliverability=False, allow_smtputf8=False, test_environment=not settings.is_production
        )
    except EmailNotValidError as error:
        raise ValueError("not an email address") from error
    if any(_mixes_scripts(label) for label in checked.domain.split(".")):
        raise ValueError("not an email address: its host mixes scripts")
    return f"{checked.local_part}@{checked.ascii_domain}".lower()


def _mixes_scripts(label: str) -> bool:
    """Whether letters of several scripts stand in one label, other than those that are written together."""
    scripts = {unicodedata.name(letter, "UNKNOWN").split()[0] for letter in label if letter.isalpha()}
    return len(scripts) > 1 and not any(scripts <= together for together in WRITTEN_TOGETHER)


def _email(value: str) -> str:
    try:
        return canonical_email(value)
    except ValueError:
        raise PydanticCustomError("email_invalid", "This is not an email address.") from None


def _name(value: str) -> str:
    if FORBIDDEN_IN_NAMES.search(value):
        raise PydanticCustomError("name_invalid", "A name has no control or direction-changing characters.")
    return value


def _nfc(value: Any) -> Any:
    """A password as it is counted and hashed, whatever keyboard it was typed on."""
    return unicodedata.normalize("NFC", value) if isinstance(value, str) else value


Email = Annotated[
    str,
    Field(max_length=320),
    AfterValidator(_email),
    WithJsonSchema({"type": "string", "format": "email", "maxLength": 320}),
]
FullName = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_name)]
NewPassword = Annotated[
    str,
    BeforeValidator(_nfc),
    Field(min_length=settings.password_min_length, max_length=PASSWORD_MAX, json_schema_extra={"format": "password"}),
]
Password = Annotated[
    str, BeforeValidator(_nfc), Field(min_length=1, max_length=PASSWORD_MAX, json_schema_extra={"format": "password"})
]


class UserCreate(Input):
    email: Email
    password: NewPassword = Field(repr=False)
    full_name: FullName | None = None
    invitation_code: str | None = Field(
        default=None, max_length=200, repr=False, description="needed while registration is by invitation"
    )


class UserUpdate(Input):
    """What a user may set of their own account."""

    full_name: FullName | None


class UserResponse(Output):
    id: UUID
    email: str
    full_name: str | None
    is_active: bool
    is_verified: bool
    roles: list[str]
    created_at: Timestamp
    updated_at: Timestamp


class RegistrationPending(Output):
    """The answer to every registration where sign-in needs a verified email: it tells nothing of who exists."""

    status: str = "verification_pending"

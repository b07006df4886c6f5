"""One caught message, read for people and tests: whatever was sent, reading it never fails."""

import email
import email.policy
from dataclasses import asdict, dataclass
from email.message import EmailMessage
from email.utils import getaddresses
from typing import Any


@dataclass(frozen=True)
class Mail:
    id: str
    message_id: str
    sender: str
    to: tuple[str, ...]
    """Of the envelope, so that blind copies stand here too."""
    subject: str
    created_at: str
    text: str
    html: str
    headers: dict[str, str]

    def is_to(self, address: str) -> bool:
        return address.casefold() in {to.casefold() for to in self.to}

    def to_json(self) -> dict[str, Any]:
        fields = asdict(self)
        return {"id": fields.pop("id"), "message_id": fields.pop("message_id"), "from": fields.pop("sender"), **fields}


def read_mail(mail_id: str, envelope: dict[str, Any], content: bytes) -> Mail:
    """`envelope`: what SMTP said (`from`, `to`, `created_at`)."""
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    headers = {name: _text(value) for name, value in _headers(message)}
    named = {name.lower(): value for name, value in headers.items()}
    return Mail(
        id=mail_id,
        message_id=named.get("message-id", "").strip("<> "),
        sender=_address(named.get("from", "")) or str(envelope["from"]),
        to=tuple(map(str, envelope["to"])),
        subject=named.get("subject", ""),
        created_at=str(envelope["created_at"]),
        text=_part(message, "plain"),
        html=_part(message, "html"),
        headers=headers,
    )


def _headers(message: EmailMessage) -> list[tuple[str, Any]]:
    """Decoded where the library can; as they came where it cannot."""
    try:
        return list(message.items())
    except Exception:  # noqa: BLE001 - a stranger's header trips the parser in many ways, and the page still has to show it
        return list(message.raw_items())


def _part(message: EmailMessage, kind: str) -> str:
    """The first part of `text/<kind>` that is not an attachment."""
    for part in message.walk():
        if part.get_content_type() == f"text/{kind}" and part.get_content_disposition() != "attachment":
            payload = part.get_payload(decode=True)
            raw = payload if isinstance(payload, bytes) else b""
            try:
                return raw.decode(part.get_content_charset() or "utf-8", errors="replace").replace("\r\n", "\n")
            except LookupError:  # a character set that nobody knows
                return raw.decode("utf-8", errors="replace").replace("\r\n", "\n")
    return ""


def _address(header: str) -> str:
    return next((address for _, address in getaddresses([header]) if address), "")


def _text(value: object) -> str:
    """A header on one line, without the lone surrogates that stand for bytes of no character set."""
    return " ".join(str(value).split()).encode("utf-8", errors="replace").decode()

"""Mail: render a template, send it over SMTP. Names and addresses never become markup or headers."""

import ssl
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit
from uuid import UUID

import aiosmtplib
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from app.core.clock import utc_now
from app.core.config import settings

TEMPLATES = Path(__file__).resolve().parents[1] / "templates" / "email"
SMTP_TIMEOUT = 20  # seconds for each step of the conversation
PRODUCT = "NeoForge"


class MailUnavailable(Exception):
    """No mail server is known: SMTP_URL is not set and the development mailbox does not run."""


@lru_cache(maxsize=1)
def _templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),  # noqa: S701 - text parts are no markup
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(name: str, to: str, *, message_id: UUID, language: str = "en", **values: object) -> EmailMessage:
    """The message `name` with its text and HTML parts.

    `message_id` is the id of the `background_tasks` row: a mail that is sent twice can be told by it.
    The first line of the text template is the subject.
    """
    values = {"product": PRODUCT, "public_url": settings.public_url, **values}
    text = _templates().get_template(f"{language}/{name}.txt.j2").render(**values)
    subject, _, body = text.partition("\n")
    html = _templates().get_template(f"{language}/{name}.html.j2").render(subject=subject, **values)
    message = EmailMessage()
    message["Subject"] = " ".join(subject.split())
    message["From"] = Address(PRODUCT, addr_spec=settings.mail_from)
    message["To"] = Address(addr_spec=to)
    message["Date"] = format_datetime(utc_now())
    message["Message-ID"] = f"<{message_id}@{settings.mail_from.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    body = body.strip() + "\n"
    message.set_content(body, cte=_encoding(body))
    message.add_alternative(html, subtype="html", cte=_encoding(html))
    return message


def _encoding(text: str) -> str:
    """Plain where that is possible, so that a link stands in one piece on one line; SMTP allows lines of 998."""
    return "7bit" if text.isascii() and max(map(len, text.splitlines()), default=0) < 990 else "quoted-printable"


async def send(message: EmailMessage) -> None:
    """Hand the message to the mail server. Returning means that it was accepted.

    Raises:
        MailUnavailable, OSError, aiosmtplib.SMTPException: it was not, or nobody knows.
    """
    url = urlsplit(settings.smtp_url or settings.embedded("smtp_url"))
    if not url.hostname:
        raise MailUnavailable("SMTP_URL is not set and no development mailbox runs")
    await aiosmtplib.send(
        message,
        hostname=url.hostname,
        port=url.port or (465 if url.scheme == "smtps" else 25),
        username=unquote(url.username) if url.username else None,
        password=unquote(url.password) if url.password else None,
        use_tls=url.scheme == "smtps",
        tls_context=ssl.create_default_context() if url.scheme == "smtps" else None,
        timeout=SMTP_TIMEOUT,
    )


async def send_verification_email(to: str, token: str, *, message_id: UUID) -> None:
    """The link that proves an address. It is posted by a button on its page: mail scanners follow links."""
    link = f"{settings.public_url}/account/verify?token={token}"
    await send(render("verify", to, message_id=message_id, link=link))


async def send_email_taken(to: str, *, message_id: UUID) -> None:
    """Tell the owner that somebody tried to register an address that has an account already."""
    await send(render("email_taken", to, message_id=message_id))


async def send_welcome(to: str, full_name: str | None, *, message_id: UUID) -> None:
    """A welcome, once the address is verified."""
    await send(render("welcome", to, message_id=message_id, full_name=full_name))

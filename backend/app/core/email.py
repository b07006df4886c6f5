"""Mail: one layout, the words of each language, SMTP. Names and addresses never become markup or headers."""

import re
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

from app.core.clock import utc_now
from app.core.config import settings

if TYPE_CHECKING:  # nor are these for an API process to load, which writes no mail
    from email.message import EmailMessage

    from aiosmtplib import SMTPResponseException
    from jinja2 import Environment

TEMPLATES = Path(__file__).resolve().parents[1] / "templates" / "email"
SMTP_TIMEOUT = 20  # seconds for each step of the conversation
PRODUCT = "NeoForge"
DEFAULT_LANGUAGE = "en"
_ENHANCED_STATUS = re.compile(r"5\.\d{1,3}\.\d{1,3}\b")
_WEIGHT = re.compile(r"q=([01](?:\.\d{0,3})?)")


class MailUnavailable(Exception):
    """No mail server is known: SMTP_URL is not set and the development mailbox does not run."""


class MailRefused(Exception):
    """The mail server will never take this message: it answered RCPT or DATA with 5xx (RFC 5321, 4.2.1).

    Its text may be shown: the code and the enhanced status alone (RFC 3463), as "550 5.1.1". The server's own words are
    left out, since they may repeat the address.
    """

    code = "mail_refused"

    def __init__(self, answer: "SMTPResponseException") -> None:
        status = _ENHANCED_STATUS.match(answer.message)
        super().__init__(f"{answer.code} {status.group()}" if status else str(answer.code))


@lru_cache(maxsize=1)
def _templates() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # not for an API process, which writes no mail

    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),  # noqa: S701 - text parts are no markup
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@lru_cache(maxsize=8)
def catalogue(language: str) -> dict[str, Any]:
    """What mails say in a language: its words by key, and a table for each mail."""
    return tomllib.loads((TEMPLATES / f"{language}.toml").read_text())


@lru_cache(maxsize=1)
def languages() -> tuple[str, ...]:
    """The languages that mails are written in, the default first."""
    return DEFAULT_LANGUAGE, *sorted({file.stem for file in TEMPLATES.glob("*.toml")} - {DEFAULT_LANGUAGE})


def preferred_language(accepted: str) -> str:
    """Of an Accept-Language header, the language of ours that it likes best; the default where it names none."""
    liked: dict[str, float] = {}
    for part in accepted.split(","):
        tag, _, weight = part.strip().partition(";")
        language = tag.strip().partition("-")[0].lower()
        found = _WEIGHT.fullmatch(weight.strip())
        quality = float(found[1]) if found else 0.0 if weight.strip() else 1.0
        if language in languages():
            liked[language] = max(quality, liked.get(language, 0.0))
    best = max(liked, key=lambda language: liked[language], default=DEFAULT_LANGUAGE)
    return best if liked.get(best) else DEFAULT_LANGUAGE


def render(
    name: str, to: str, *, message_id: UUID, language: str = DEFAULT_LANGUAGE, link: str = "", **values: object
) -> "EmailMessage":
    """The message `name` of the catalogue, with its text and HTML parts.

    `message_id` is the id of the `background_tasks` row: a mail that is sent twice can be told by it.
    """
    from email.headerregistry import Address
    from email.message import EmailMessage
    from email.utils import format_datetime

    words = catalogue(language if language in languages() else DEFAULT_LANGUAGE)
    said = words[name]
    values = {"product": PRODUCT, "public_url": settings.public_url, **values}
    values["greeting"] = words["greeting_by_name" if values.get("full_name") else "greeting"].format(**values)
    subject = " ".join(said["subject"].format(**values).split())
    shown = {
        "product": PRODUCT,
        "language": words["language"],
        "subject": subject,
        "paragraphs": [paragraph.format(**values) for paragraph in said["paragraphs"]],
        "notes": [note.format(**values) for note in said.get("notes", ())],
        "link": link,
        "button": said.get("button", ""),
        "link_too": words["link_too"],
    }
    message = EmailMessage()
    message["Subject"] = subject
    message["From"] = Address(PRODUCT, addr_spec=settings.mail_from)
    message["To"] = Address(addr_spec=to)
    message["Date"] = format_datetime(utc_now())
    message["Message-ID"] = f"<{message_id}@{settings.mail_from.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    body = _templates().get_template("base.txt.j2").render(shown).strip() + "\n"
    html = _templates().get_template("base.html.j2").render(shown)
    message.set_content(body, cte=_encoding(body))
    message.add_alternative(html, subtype="html", cte=_encoding(html))
    message["Content-Language"] = words["language"]
    return message


def _encoding(text: str) -> str:
    """Plain where that is possible, so that a link stands in one piece on one line; SMTP allows lines of 998."""
    return "7bit" if text.isascii() and max(map(len, text.splitlines()), default=0) < 990 else "quoted-printable"


async def send(message: "EmailMessage") -> None:
    """Hand the message to the mail server. Returning means that it was accepted.

    Raises:
        MailRefused: it was not, and never will be.
        MailUnavailable, OSError, aiosmtplib.SMTPException: it was not, or nobody knows.
    """
    from aiosmtplib import SMTPDataError, SMTPRecipientsRefused

    try:
        await _send(message)
    except (SMTPRecipientsRefused, SMTPDataError) as error:
        answer = error.recipients[0] if isinstance(error, SMTPRecipientsRefused) else error
        if answer.code >= 500:
            raise MailRefused(answer) from None  # its words would stand in the log
        raise


async def _send(message: "EmailMessage") -> None:
    import ssl

    import aiosmtplib

    url = urlsplit(settings.smtp_url or settings.embedded("smtp_url"))
    if not url.hostname:
        raise MailUnavailable("SMTP_URL is not set and no development mailbox runs")
    at_once = url.scheme == "smtps"
    must = settings.needs_tls(url.hostname)
    await aiosmtplib.send(
        message,
        hostname=url.hostname,
        port=url.port or (465 if url.scheme == "smtps" else 25),
        username=unquote(url.username) if url.username else None,
        password=unquote(url.password) if url.password else None,
        use_tls=at_once,
        start_tls=True if must and not at_once else None,  # None: where the server offers it
        tls_context=ssl.create_default_context() if at_once or must else None,  # None: the same, once it is needed
        timeout=SMTP_TIMEOUT,
    )


def page_link(page: str, token: str) -> str:
    """The page under `/account` whose button posts the token: mail scanners follow links, and use nothing up."""
    return f"{settings.public_url}/account/{page}?token={token}"


async def send_verification_email(
    to: str, token: str, *, message_id: UUID, language: str = DEFAULT_LANGUAGE, mail: str = "verify"
) -> None:
    """The link that proves an address, in the words of `mail`."""
    await send(render(mail, to, message_id=message_id, language=language, link=page_link("verify", token)))

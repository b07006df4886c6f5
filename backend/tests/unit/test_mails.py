"""What mails say: every language says it all, the layout is its source's, and no value gets out of its place."""

import math
import random
import re
from datetime import timedelta
from string import Formatter
from typing import Any

import pytest
from aiosmtplib import SMTPDataError

from app.core.config import settings
from app.core.email import TEMPLATES, MailRefused, catalogue, languages, preferred_language, render
from app.core.sql import new_id
from app.tools.mail_templates import COMPILED, compiled
from app.worker.running import retry_delay
from app.worker.tasks.email import ATTEMPTS, TRY_AGAIN
from app.worker.tracking import REGISTRY

VALUES = {"full_name": "Ada", "at": "2026-11-24 03:00 UTC", "ip": "192.0.2.1"}
MAILS = sorted(name for name, words in catalogue("en").items() if isinstance(words, dict))
EVIL = [
    '<img src=x onerror="alert(1)">',
    "{{ 7 * 7 }}{% for x in y %}",
    "{product.__class__} {0} {",
    "Ada\r\nBcc: evil@example.com\r\n\r\n<b>",
    "=?utf-8?q?Bcc:_evil@example.com?=",
]


def shape(words: Any) -> Any:
    """The keys of a catalogue, and the {values} that its texts name, in any order."""
    if isinstance(words, dict):
        return {key: shape(value) for key, value in words.items()}
    texts = words if isinstance(words, list) else [words]
    return sorted({field for text in texts for _, field, _, _ in Formatter().parse(text) if field})


def test_every_language_says_the_same_things() -> None:
    assert languages() == ("en", "de")
    for language in languages():
        assert shape(catalogue(language)) == shape(catalogue("en")), language
        assert catalogue(language)["language"] == language


def test_a_missing_key_or_value_is_found() -> None:
    whole = catalogue("en")
    without_key = {**whole, "reset": {key: text for key, text in whole["reset"].items() if key != "button"}}
    without_value = {**whole, "welcome": {**whole["welcome"], "subject": "Welcome"}}
    assert shape(without_key) != shape(whole) != shape(without_value)


def test_the_layout_is_compiled_from_its_source() -> None:
    assert COMPILED.read_text() == compiled(), "run `python -m app.tools.mail_templates`"


def test_every_jinja_expression_survives_the_compiler() -> None:
    jinja = re.compile(r"\{[{%].*?[%}]\}")
    written = jinja.findall((TEMPLATES / "base.mjml").read_text())
    assert set(written) == set(jinja.findall(COMPILED.read_text()))


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("name", MAILS)
def test_a_mail_is_whole_in_both_its_parts(name: str, language: str) -> None:
    has_link = "button" in catalogue(language)[name]
    link = f"{settings.public_url}/account/x?token=nfm_abc" if has_link else ""
    mail = render(name, "ada@example.com", message_id=new_id(), language=language, link=link, **VALUES)
    text, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert text is not None
    assert html is not None
    assert mail["Content-Language"] == language
    for body in (text.get_content(), html.get_content()):
        assert not re.search(r"[{}]|Undefined|None", re.sub(r"<style.*?</style>", "", body, flags=re.DOTALL))
        assert (link in body) if link else ("token=" not in body)
        assert "://" not in body.replace(settings.public_url, "").replace("http://www.w3.org", "")
    assert f'lang="{language}"' in html.get_content()
    assert "<script" not in html.get_content()


@pytest.mark.parametrize("evil", EVIL)
@pytest.mark.parametrize("name", MAILS)
def test_no_value_becomes_markup_or_template_or_header(name: str, evil: str) -> None:
    values = dict.fromkeys(VALUES, evil)
    mail = render(name, "ada@example.com", message_id=new_id(), **values)
    harmless = render(name, "ada@example.com", message_id=new_id(), **VALUES)
    html, text = mail.get_body(("html",)), mail.get_body(("plain",))
    assert html is not None
    assert text is not None
    assert mail.keys() == harmless.keys()
    assert mail["Subject"] == harmless["Subject"]
    assert mail["To"] == "ada@example.com"
    markup = html.get_content()
    assert "<img" not in markup
    assert "<b>" not in markup
    assert "49" not in re.sub(r"#\w+", "", text.get_content())
    if evil == EVIL[1] and "{" in text.get_content():
        assert evil in text.get_content()


@pytest.mark.parametrize(
    "address", ["ada@example.com\r\nBcc: evil@example.com", "ada@example.com, b@example.com", "ada"]
)
def test_an_address_becomes_no_second_header_or_receiver(address: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        render("verify", address, message_id=new_id(), link="x")


def test_an_unknown_language_is_the_default() -> None:
    assert render("verify", "ada@example.com", message_id=new_id(), language="../de")["Content-Language"] == "en"


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"),
        ("de", "de"),
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("en-GB, de;q=0.7", "en"),
        ("fr, de;q=0.5, en;q=0.4", "de"),
        ("fr", "en"),
        ("*", "en"),
        ("DE;q=1.000", "de"),
        ("de;q=0", "en"),
        ("de;q=0, en;q=0", "en"),
        ("de;q=banana", "en"),
        ("../../etc/passwd", "en"),
        (";;;,,,q=1", "en"),
    ],
)
def test_the_language_is_the_one_that_is_liked_best(accepted: str, language: str) -> None:
    assert preferred_language(accepted) == language


def test_a_refusal_shows_the_servers_code_and_none_of_its_words() -> None:
    refused = MailRefused(SMTPDataError(550, "5.1.1 <ada@example.com>: nobody of that name"))
    assert (refused.code, str(refused)) == ("mail_refused", "550 5.1.1")
    assert str(MailRefused(SMTPDataError(554, "5 reasons, ada@example.com"))) == "554"
    assert not issubclass(MailRefused, TRY_AGAIN)


def test_a_mail_outlives_four_hours_without_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: (low + high) / 2)  # the average of what chance gives
    average = sum((retry_delay(attempt) for attempt in range(1, ATTEMPTS)), timedelta(0))
    deviation = timedelta(seconds=300 / math.sqrt(12) * math.sqrt(ATTEMPTS))  # of pauses of up to 300 s, or less
    assert average - 5 * deviation > timedelta(hours=4)
    assert {REGISTRY[name].max_attempts for name in REGISTRY if "email" in REGISTRY[name].function.__module__} == {
        ATTEMPTS
    }

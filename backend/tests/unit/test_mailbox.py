"""The development mailbox keeps what it answered 250 for, shows it without running any of it, and is bounded."""

import os
import smtplib
from collections.abc import AsyncIterator, Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient

from app.api import problems
from app.dev import mailbox as module
from app.dev.mailbox import Catcher, Mailbox
from tests.flows import problem

BROWSER = {"Accept": "text/html,application/xhtml+xml"}
NASTY = "<script>alert(1)</script>"


@pytest.fixture
def mailbox(tmp_path: Path) -> Mailbox:
    return Mailbox(tmp_path / "mailbox")


@pytest.fixture
def catcher(mailbox: Mailbox) -> Iterator[Catcher]:
    running = Catcher(mailbox)
    running.start()
    yield running
    running.stop()


@pytest.fixture
async def pages(mailbox: Mailbox) -> AsyncIterator[AsyncClient]:
    app = FastAPI(routes=[*mailbox.routes()])
    problems.install(app)
    async with AsyncClient(transport=ASGITransport(app), base_url="http://localhost", trust_env=False) as client:
        yield client


def letter(to: str = "ada@example.com", subject: str = "Hello", html: str = "<p>hello</p>") -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "NeoForge <no-reply@example.com>", to, subject
    message["Message-ID"] = "<42@example.com>"
    message.set_content("Verify: http://127.0.0.1:8000/account/verify?token=abc&x=1\n")
    message.add_alternative(html, subtype="html")
    return message


def send(catcher: Catcher, *messages: EmailMessage) -> None:
    with smtplib.SMTP("127.0.0.1", catcher.port) as server:
        for message in messages:
            server.send_message(message)


async def test_mails_are_listed_newest_first_and_by_recipient(catcher: Catcher, pages: AsyncClient) -> None:
    send(catcher, letter(subject="one"), letter(subject="two"), letter(to="Bob@Example.com", subject="three"))
    listed = (await pages.get("/dev/mailbox")).json()
    assert [mail["subject"] for mail in listed["items"]] == ["three", "two", "one"]
    assert listed["next_cursor"] is None
    [mail] = (await pages.get("/dev/mailbox", params={"to": "bob@example.com"})).json()["items"]
    assert mail["from"] == "no-reply@example.com"
    assert mail["to"] == ["Bob@Example.com"]
    assert mail["message_id"] == "42@example.com"
    assert "token=abc&x=1" in mail["text"]
    assert mail["html"].strip() == "<p>hello</p>"
    assert mail["headers"]["Subject"] == "three"
    assert mail["created_at"].endswith("Z")
    assert (await pages.get(f"/dev/mailbox/{mail['id']}")).json() == mail


async def test_pages_are_cut_by_limit_and_cursor(catcher: Catcher, pages: AsyncClient) -> None:
    send(catcher, *(letter(subject=str(number)) for number in range(5)))
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = (await pages.get("/dev/mailbox", params={"limit": 2, "cursor": cursor})).json()
        seen += [mail["subject"] for mail in page["items"]]
        cursor = page["next_cursor"]
    assert seen == ["4", "3", "2", "1", "0"]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "limit=", "cursor=zzz", "cursor=1"])
async def test_a_page_that_cannot_be_is_refused(pages: AsyncClient, query: str) -> None:
    assert problem(await pages.get(f"/dev/mailbox?{query}")) == (422, "validation_failed")


def test_a_mail_is_on_the_disk_before_it_is_answered(
    mailbox: Mailbox, catcher: Catcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def sync(descriptor: int) -> None:
        synced.append("folder" if Path(f"/dev/fd/{descriptor}").resolve() == mailbox.folder else "file")
        real(descriptor)

    real = os.fsync
    monkeypatch.setattr(os, "fsync", sync)
    send(catcher, letter())
    assert synced == ["file", "folder"]
    assert [path.stat().st_mode & 0o777 for path in mailbox.folder.iterdir()] == [0o600]
    assert [mail.subject for mail in Mailbox(mailbox.folder).list()] == ["Hello"]


def test_a_full_disk_is_answered_with_try_again(catcher: Catcher, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with smtplib.SMTP("127.0.0.1", catcher.port) as server:
        with pytest.raises(smtplib.SMTPDataError) as refused:
            server.send_message(letter())
        assert refused.value.smtp_code == 451
        monkeypatch.undo()
        server.send_message(letter(subject="again"))


def test_the_oldest_go_when_it_is_full(tmp_path: Path) -> None:
    first = Mailbox(tmp_path / "box", most=3)
    for number in range(4):
        first.store("a@b.c", ["d@e.f"], f"Subject: {number}\r\n\r\n".encode())
    after_a_restart = Mailbox(tmp_path / "box", most=3)
    after_a_restart.store("a@b.c", ["d@e.f"], b"Subject: 4\r\n\r\n")
    assert [mail.subject for mail in after_a_restart.list()] == ["4", "3", "2"]


def test_what_was_removed_by_another_process_does_not_trip_the_writer(mailbox: Mailbox) -> None:
    mailbox.store("a@b.c", ["d@e.f"], b"Subject: gone\r\n\r\n")
    Mailbox(mailbox.folder).clear()
    mailbox.store("a@b.c", ["d@e.f"], b"Subject: there\r\n\r\n")
    assert [mail.subject for mail in mailbox.list()] == ["there"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00",
        b"Subject: =?nothing?q?x?= \xff\r\nFrom: \xff <\r\nContent-Type: text/plain; charset=nothing\r\n\r\n\xff\x00",
        b"Content-Type: multipart/mixed\r\n\r\nno boundary",
        b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!",
        b"From: a@b@c, <<>>\r\nTo: (((\r\nDate: never\r\nMessage-ID: <<\r\n\r\n",
        b"Content-Type: text/html; charset=utf-16\r\n\r\n\x00",
    ],
)
async def test_whatever_is_sent_can_be_shown(mailbox: Mailbox, pages: AsyncClient, content: bytes) -> None:
    mail_id = mailbox.store("a@b.c", ["d@e.f"], content)
    for headers in (BROWSER, {}):
        for path in ("/dev/mailbox", f"/dev/mailbox/{mail_id}", f"/dev/mailbox/{mail_id}/html"):
            assert (await pages.get(path, headers=headers)).status_code == 200


async def test_nothing_of_a_mail_becomes_markup_or_runs(catcher: Catcher, pages: AsyncClient) -> None:
    message = letter(to="ada@example.com", subject=NASTY, html=f"<html><head><title>x</title></head>{NASTY}</html>")
    message["X-Nasty"] = NASTY
    send(catcher, message)
    [mail] = (await pages.get("/dev/mailbox")).json()["items"]
    for path in ("/dev/mailbox", f"/dev/mailbox/{mail['id']}", f"/dev/mailbox?to={NASTY}"):
        page = await pages.get(path, headers=BROWSER)
        assert page.headers["content-type"].startswith("text/html")
        assert NASTY not in page.text
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe-inline" not in policy
        assert page.headers["cache-control"] == "no-store"
    html = await pages.get(f"/dev/mailbox/{mail['id']}/html")
    policy = html.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "sandbox allow-popups" in policy
    assert '<base target="_blank">' in html.text


async def test_the_mailbox_is_emptied(catcher: Catcher, pages: AsyncClient) -> None:
    send(catcher, letter())
    assert (await pages.delete("/dev/mailbox")).status_code == 204
    assert (await pages.get("/dev/mailbox")).json()["items"] == []


def test_ids_that_are_none_find_nothing(mailbox: Mailbox) -> None:
    mailbox.store("a@b.c", ["d@e.f"], b"Subject: x\r\n\r\n")
    for mail_id in ("", "..", "../lock", "x" * 36, "0190f3a0-0000-7000-8000-000000000000"):
        assert mailbox.get(mail_id) is None


def test_parsed_mails_are_kept_within_bounds(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []
    real = module.read_mail
    monkeypatch.setattr(module, "read_mail", lambda mail_id, *rest: reads.append(mail_id) or real(mail_id, *rest))
    mail_id = mailbox.store("a@b.c", ["d@e.f"], b"Subject: x\r\n\r\n")
    assert mailbox.get(mail_id) == mailbox.get(mail_id)
    assert reads == [mail_id]

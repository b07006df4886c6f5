"""The development mailbox: catches every mail over SMTP and keeps it as a file, before it answers that it has it."""

import asyncio
import json
import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import uuid_utils
from aiosmtpd.smtp import SMTP, Envelope, Session

from app.core.clock import utc_now
from app.core.process import listen
from app.dev.mail import Mail, read_mail

if TYPE_CHECKING:
    from starlette.routing import Route

MOST = 10_000  # messages kept; the oldest go first
LARGEST = 10 * 2**20  # bytes of one message
PARSED = 1_000  # messages kept in memory once they were read
START_WITHIN = 10.0  # seconds for the catcher's thread to listen
log = structlog.get_logger()


class Mailbox:
    """A folder of messages. One process writes it, any number read it."""

    def __init__(self, folder: Path, most: int = MOST) -> None:
        self.folder = folder
        self._most = most
        self._read = lru_cache(PARSED)(self._parse)
        self._kept: deque[Path] | None = None

    def store(self, sender: str, recipients: list[str], content: bytes) -> str:
        """Keep a message; it is on the disk when this returns. The id sorts by time of arrival."""
        if self._kept is None:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._kept = deque(sorted(self.folder.glob("*.mail")))
        mail_id = str(uuid_utils.uuid7())
        envelope = {"from": sender, "to": recipients, "created_at": utc_now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
        path = self._path(mail_id)
        draft = path.with_suffix(".draft")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(json.dumps(envelope).encode() + b"\n" + content)
            out.flush()
            os.fsync(out.fileno())
        draft.rename(path)
        _sync_folder(self.folder)
        self._kept.append(path)
        while len(self._kept) > self._most:
            self._kept.popleft().unlink(missing_ok=True)
        return mail_id

    def list(self, to: str = "", before: str = "") -> Iterator[Mail]:
        """The messages, newest first; only those to one address; only those that came before the one with this id."""
        ids = (path.stem for path in sorted(self.folder.glob("*.mail"), reverse=True))
        mails = (self.get(mail_id) for mail_id in ids if not before or mail_id < before)
        return (mail for mail in mails if mail is not None and (not to or mail.is_to(to)))

    def get(self, mail_id: str) -> Mail | None:
        """One message, or None when there is none."""
        try:
            uuid_utils.UUID(mail_id)
            return self._read(mail_id)
        except (OSError, ValueError):  # no id of ours, never there, or removed meanwhile
            return None

    def clear(self) -> None:
        """Remove every message."""
        for path in self.folder.glob("*.mail"):
            path.unlink(missing_ok=True)
        self._read.cache_clear()

    def routes(self) -> "Sequence[Route]":
        """The pages and the JSON under `/dev/mailbox`."""
        from app.dev.mailbox_pages import routes  # the supervisor, which catches the mail, does without a web framework

        return routes(self)

    def _path(self, mail_id: str) -> Path:
        return self.folder / f"{mail_id}.mail"

    def _parse(self, mail_id: str) -> Mail:
        head, _, content = self._path(mail_id).read_bytes().partition(b"\n")
        return read_mail(mail_id, json.loads(head), content)


class Catcher:
    """An SMTP server that puts every message into a mailbox, in a thread of its own."""

    def __init__(self, mailbox: Mailbox, host: str = "127.0.0.1", port: int = 0) -> None:
        self._mailbox = mailbox
        self._socket = listen(host, port)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"smtp://{host}:{self.port}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="mail-catcher", daemon=True)
        self._listening = threading.Event()

    def start(self) -> None:
        """Returns once it listens."""
        self._thread.start()
        if not self._listening.wait(START_WITHIN):
            raise RuntimeError("the mail catcher did not start")

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_WITHIN)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd looks for this name
        content = envelope.original_content or b""
        try:
            self._mailbox.store(envelope.mail_from or "", [str(to) for to in envelope.rcpt_tos], content)
        except OSError as error:
            log.error("mail_not_kept", reason=error.strerror)
            return "451 4.3.0 The message could not be kept, try again later"
        return "250 2.0.0 Kept"

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(self._loop.create_server(self._protocol, sock=self._socket))
        self._loop.call_soon(self._listening.set)
        try:
            self._loop.run_forever()
        finally:
            server.close()
            _cancel_all(self._loop)
            self._loop.close()

    def _protocol(self) -> SMTP:
        return SMTP(self, data_size_limit=LARGEST, enable_SMTPUTF8=True, ident="NeoForge mailbox", loop=self._loop)


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    open_calls = asyncio.all_tasks(loop)
    for call in open_calls:
        call.cancel()
    loop.run_until_complete(asyncio.gather(*open_calls, return_exceptions=True))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""What arrived at the tests' SMTP server."""

import re
from pathlib import Path

from app.dev.mail import Mail
from app.dev.mailbox import Catcher, Mailbox
from tests.waiting import eventually


class Inbox:
    """A real SMTP server and what it caught. `received` reads; `wait_for` waits for a mail that is to come."""

    def __init__(self, folder: Path, port: int, catcher: type[Catcher] = Catcher) -> None:
        self.mailbox = Mailbox(folder)
        self.catcher = catcher(self.mailbox, "127.0.0.1", port)
        self.catcher.start()

    def stop(self) -> None:
        self.catcher.stop()

    def received(self, to: str = "") -> list[Mail]:
        """Oldest first."""
        return list(self.mailbox.list(to))[::-1]

    async def wait_for(self, to: str, *, number: int = 1, within: float = 30) -> Mail:
        """The `number`th mail to this address, once it is there."""
        await eventually(lambda: len(self.received(to)) >= number, within=within)
        return self.received(to)[number - 1]


def link_token(mail: Mail) -> str:
    """The token in the mail's link."""
    found = re.search(r"[?&]token=([\w.~-]+)", mail.text)
    assert found, f"no link with a token in the mail {mail.subject!r}"
    return found[1]

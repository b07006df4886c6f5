"""An SMTP server that does with each recipient's mails what a test says."""

import asyncio
from collections import defaultdict

from aiosmtpd.smtp import SMTP, Envelope, Session

from app.dev.mailbox import Catcher

HANG = "hang"
"""Keep the message, and never say so."""
HOLD = "hold"
"""Say nothing until `release`; then keep the message."""


class Moody(Catcher):
    """What is said of an address is done in turn, one thing at each try; after that its mails are kept."""

    greylists = False
    """Whether the first try of every recipient is put off."""

    def __init__(self, *of: object) -> None:
        super().__init__(*of)  # type: ignore[arg-type] # the catcher's own arguments
        self.to_recipient: dict[str, list[str]] = defaultdict(list)
        """Answers to RCPT, by address."""
        self.to_message: dict[str, list[str]] = defaultdict(list)
        """Answers to DATA, HANG or HOLD, by address."""
        self.held: set[str] = set()
        """The addresses whose message is being held."""
        self._seen: set[str] = set()
        self._released = asyncio.Event()

    def refusals(self, at: str) -> dict[str, list[str]]:
        return {"recipient": self.to_recipient, "message": self.to_message}[at]

    def release(self) -> None:
        """Go on with what is held."""

        def let_go() -> None:
            self._released.set()
            self._released = asyncio.Event()

        self._loop.call_soon_threadsafe(let_go)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd looks for this name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if self.greylists and address not in self._seen:
            self._seen.add(address)
            return "451 4.7.1 Greylisted, try again later"
        if self.to_recipient[address]:
            return self.to_recipient[address].pop(0)
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - as above
        (address,) = map(str, envelope.rcpt_tos)
        mood = self.to_message[address].pop(0) if self.to_message[address] else ""
        if mood == HOLD:
            self.held.add(address)
            await self._released.wait()
            self.held.remove(address)
        elif mood and mood != HANG:
            return mood
        answer = await super().handle_DATA(server, session, envelope)
        if mood == HANG:
            await asyncio.Event().wait()  # until the client has had enough, and the connection is gone
        return answer

"""`python -m app.dev.catch`: the development mailbox as a process of its own, for the compose stack. Ends on SIGTERM.

The API of the same DATA_DIR shows what it caught, at `/dev/mailbox`.
"""

import os
import signal
import sys

from app.core.config import Environment, settings
from app.dev.mailbox import Catcher, Mailbox

PORT = 1025


def main() -> None:
    """Catch mail on MAIL_PORT until told to end."""
    if settings.environment is not Environment.development:
        sys.exit(f"the mailbox is for development, and ENVIRONMENT is {settings.environment}")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    catcher = Catcher(Mailbox(settings.data_dir / "mailbox"), settings.host, int(os.environ.get("MAIL_PORT") or PORT))
    catcher.start()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    catcher.stop()


if __name__ == "__main__":
    main()

"""`python -m app.worker.flower`: Flower over our Celery, on this installation's Redis prefix.

Flower reads its options from FLOWER_…; it opens everything to everybody unless FLOWER_BASIC_AUTH is set, so it must be.
"""

import os
import sys

from app.worker import pulse
from app.worker.celery import celery_app, connect


def main() -> None:
    """Serve Flower until told to end."""
    user, _, password = os.environ.get("FLOWER_BASIC_AUTH", "").partition(":")
    if not user or not password:
        sys.exit("flower: set FLOWER_BASIC_AUTH to user:password")
    connect(pulse.wait_for_prefix())
    celery_app.start(["flower"])


if __name__ == "__main__":
    main()

"""`python -m app.worker.flower`: Flower over our Celery, on this installation's Redis prefix.

Flower reads its options from FLOWER_…; it opens everything to everybody unless FLOWER_BASIC_AUTH is set, so it must be.
"""

import os
import sys

from app.worker import pulse
from app.worker.celery import celery_app, connect


def main() -> None:
    """Serve Flower until told to end."""
    logins = [login.partition(":") for login in os.environ.get("FLOWER_BASIC_AUTH", "").split(",")]
    if not all(user and password for user, _, password in logins):
        sys.exit("flower: set FLOWER_BASIC_AUTH to user:password")
    _close_metrics()
    connect(pulse.wait_for_prefix())
    celery_app.start(["flower"])


def _close_metrics() -> None:
    """Flower asks for a login everywhere but at its metrics, which name every worker and task."""
    from flower.views.monitor import Metrics  # here, since only its own container and the tests have Flower

    def prepare(request: Metrics) -> None:
        request.get_current_user()  # raises its 401

    Metrics.prepare = prepare


if __name__ == "__main__":
    main()

"""Whether the process lives, and whether it can serve."""

from fastapi import Response

from app import __version__
from app.api.strict import StrictRouter
from app.core.clock import utc_now
from app.schemas.health import Liveness, Readiness, State
from app.services import health

RETRY_AFTER = "5"  # seconds

router = StrictRouter(prefix="/health", tags=["service"])


@router.get("")
async def live(response: Response) -> Liveness:
    """Whether the process lives. It touches nothing else."""
    response.headers["Cache-Control"] = "no-store"
    return Liveness(timestamp=utc_now(), version=__version__)


@router.get(
    "/ready", responses={503: {"model": Readiness, "description": "The service cannot serve, or is about to stop"}}
)
async def ready(response: Response) -> Readiness:
    """Whether the service can serve, and the state of its parts.

    `degraded` (200) means that a part is away which it can do without for a while; `unhealthy` (503) that it is not.
    """
    found = await health.readiness()
    response.headers["Cache-Control"] = "no-store"
    if found.status is State.unhealthy:
        response.status_code = 503
        response.headers["Retry-After"] = RETRY_AFTER
    return found

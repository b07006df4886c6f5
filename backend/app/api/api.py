"""The table of contents of version 1."""

from app.api.endpoints import (
    admin_audit,
    admin_config,
    admin_tasks,
    admin_users,
    auth,
    config,
    export,
    health,
    metrics,
    recovery,
    revocation,
    security_events,
    sessions,
    tasks,
    users,
)
from app.api.strict import StrictRouter

# What a route asks for stands at the route or its router, and not here: the short ways look for it there.
api_router = StrictRouter()
api_router.include_router(health.router)  # first: FastAPI makes the routes above one that is asked, and this starts us
api_router.include_router(users.router)  # asked most: a request is held against the routes from the top
api_router.include_router(auth.router)
api_router.include_router(revocation.router)
api_router.include_router(recovery.router)
api_router.include_router(sessions.router)
api_router.include_router(security_events.router)
api_router.include_router(export.router)
api_router.include_router(tasks.router)
api_router.include_router(admin_users.router)
api_router.include_router(admin_tasks.router)
api_router.include_router(admin_audit.router)
api_router.include_router(admin_config.router)
api_router.include_router(config.router)
api_router.include_router(metrics.router)

"""The application: what is served where, and what starts and ends with the process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

import app as package
from app.api import openapi, problems, streams
from app.api.api import api_router
from app.api.endpoints import ofrep, pages, well_known
from app.api.middleware import Edge
from app.api.v2.api import api_router as api_router_v2
from app.core import background, db, logging, redis, secret_check, security
from app.core.config import Environment, settings
from app.services import dynamic_config, feed, health, limits


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """What the process needs. Neither the database nor Redis has to be there: they are joined when they come."""
    if not structlog.is_configured():  # a process of `serve --workers` begins here
        logging.set_up("api")
    security.start_secrets()
    health.draining(False)
    limits.start()
    streams.start()
    dynamic_config.start()
    running = (secret_check.watch(), feed.follow(), dynamic_config.follow())
    beside = [asyncio.create_task(one) for one in running]
    yield
    health.draining(True)
    for task in beside:
        task.cancel()
    await asyncio.wait(beside, timeout=2)  # they give their connections back before these are closed
    await limits.stop()
    await background.finish()
    await redis.close()
    await db.dispose()


class Application(FastAPI):
    """FastAPI within our edge, outside of every other middleware: it sees all requests and finishes all answers."""

    def __init__(self, **said: Any) -> None:
        super().__init__(**said)
        self._edge = Edge(super().__call__)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._edge(scope, receive, send)


def create_app() -> FastAPI:
    """The application, as `neoforge serve` runs it and tests drive it."""
    made = Application(
        title="NeoForge",
        version=package.__version__,
        lifespan=lifespan,
        openapi_url=None,  # served by `pages`, from the package and under a policy of its own
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    problems.install(made)
    made.include_router(api_router, prefix="/api/v1")
    made.include_router(api_router_v2, prefix="/api/v2")
    made.include_router(well_known.router)
    made.include_router(ofrep.router)
    made.include_router(pages.router)
    if settings.serves_docs:
        made.include_router(pages.docs_router)
    if settings.environment is Environment.development:
        from app.dev.mailbox import Mailbox

        made.router.routes.extend(Mailbox(settings.data_dir / "mailbox").routes())
    made.openapi = lambda: openapi.build(made)  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    return made


app = create_app()

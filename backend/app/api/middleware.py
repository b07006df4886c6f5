"""What holds for every request and every answer, in one plain ASGI middleware."""

from functools import partial
from time import perf_counter

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api import cors, limits, maintenance, shortcut
from app.api.exchange import Exchange
from app.api.pressure import Turn
from app.api.recording import record
from app.core import declared
from app.core.errors import AppError, BadRequest


class Edge:
    """The outermost middleware. It answers what the application never sees, and finishes every answer that it gives."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = perf_counter()
        exchange = Exchange(scope, receive, send)
        try:
            await self._answer(exchange)
        except ClientDisconnect:
            pass
        except Exception as error:  # noqa: BLE001 - told as a problem, and logged with its traceback
            await exchange.fail(error)
        finally:
            record(scope, exchange.status, began, perf_counter())

    async def _answer(self, exchange: Exchange) -> None:
        exchange.admit()
        seen, scope = exchange.seen, exchange.scope
        if scope["method"] == "OPTIONS" and b"origin" in seen and b"access-control-request-method" in seen:
            answer = Response(status_code=204)
            answer.raw_headers = cors.preflight(seen)
            await answer(scope, exchange.receive, exchange.send)
            return
        if declared.maintenance():
            await maintenance.admit(scope["path"], seen.get(b"authorization", b""))
        receive = exchange.raw_receive
        if b"content-length" in seen or b"transfer-encoding" in seen:
            if seen.get(b"transfer-encoding", b"chunked").lower() != b"chunked":
                raise BadRequest("Transfer-Encoding may be chunked, and nothing else")
            receive = exchange.receive
        elif await shortcut.answered(scope, seen.get(b"authorization", b""), exchange.send):
            return
        exchange.turn = Turn(exchange.refuse, counts=scope["path"] not in limits.EXEMPT)
        way = partial(shortcut.posted, self.app) if scope["path"] in shortcut.POSTED else self.app
        await exchange.turn.run(partial(way, scope, receive, exchange.send))


class Refusing(Edge):
    """Answers one error, whatever was asked: for what never becomes a request that an application could see."""

    def __init__(self, error: AppError) -> None:
        self._error = error

    async def _answer(self, exchange: Exchange) -> None:  # noqa: ARG002 - nothing in it matters
        raise self._error

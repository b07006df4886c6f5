"""Questions that requests have at the same moment, asked as one: for 64 a statement costs little more than for one."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from typing import Generic, TypeVar

MOST = 64  # questions asked together
PATIENCE = 4.0  # seconds that one waits for its answer

K = TypeVar("K")
V = TypeVar("V")


class Together(Generic[K, V]):
    """What is asked begins after each that waits for it has come; alone, a question is asked at once, by itself."""

    def __init__(self, ask: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]]) -> None:
        self._ask = ask
        self._of = lru_cache(maxsize=2)(_Waiting[K, V])  # by event loop

    async def answer(self, question: K) -> V | None:
        """What `ask` answers to this question; None where it answers nothing.

        Raises:
            TimeoutError: it takes longer than `PATIENCE`; or what `ask` raises.
        """
        loop = asyncio.get_running_loop()
        waiting = self._of(loop)
        answer = waiting.answers.get(question)
        if answer is None:
            answer = waiting.answers[question] = loop.create_future()
        if waiting.asking is None:
            waiting.asking = loop.create_task(self._go_on(waiting))
        async with asyncio.timeout(PATIENCE):
            return await asyncio.shield(answer)  # a client that hangs up takes the answer from no other

    async def _go_on(self, waiting: "_Waiting[K, V]") -> None:
        """Ask for what waits, until nothing does."""
        try:
            while waiting.answers:
                questions = list(waiting.answers)[:MOST]
                batch = {question: waiting.answers.pop(question) for question in questions}
                try:
                    async with asyncio.timeout(PATIENCE):
                        found = await self._ask(questions)
                except Exception as error:  # noqa: BLE001 - raised again in each request that waits for it
                    for answer in batch.values():
                        answer.set_exception(error)
                        answer.exception()  # its client may have gone: not an error that nobody looked at
                else:
                    for question, answer in batch.items():
                        answer.set_result(found.get(question))
        finally:
            waiting.asking = None


class _Waiting(Generic[K, V]):
    """The questions that are asked next. One an event loop."""

    def __init__(self, _loop: asyncio.AbstractEventLoop) -> None:
        self.answers: dict[K, asyncio.Future[V | None]] = {}
        self.asking: asyncio.Task[None] | None = None

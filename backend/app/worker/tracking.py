"""`@task`: a function that runs because of a `background_tasks` row, once, and whose row says what became of it."""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

from pydantic import ConfigDict, create_model

from app.models.background_task import TaskType

TaskFunction = Callable[..., Awaitable[dict[str, Any] | None]]


class EnqueueInstead(TypeError):
    """`.delay()` was called on a tracked task."""


@dataclass(frozen=True)
class TrackedTask:
    """A task as the worker knows it: its function, and what may be tried again."""

    task_type: TaskType
    function: TaskFunction
    retry_on: tuple[type[Exception], ...]
    max_attempts: int
    timeout: timedelta
    arguments: type[Any]
    """A Pydantic model of the function's arguments: the stored payload is checked against it."""

    async def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        return await self.function(*args, **kwargs)

    def delay(self, *_: Any, **__: Any) -> NoReturn:
        """There is one way to ask for a task, and this is not it."""
        raise EnqueueInstead(
            f"write `await tasks.enqueue(db, TaskType.{self.task_type.name}, …)` in the transaction that asks for it: "
            "a task that is sent to the broker alone is lost when the process or Redis dies"
        )

    apply_async = delay


REGISTRY: dict[str, TrackedTask] = {}


def task(
    task_type: TaskType,
    *,
    retry_on: tuple[type[Exception], ...] = (),
    max_attempts: int = 3,
    timeout: timedelta = timedelta(minutes=2),
) -> Callable[[TaskFunction], TrackedTask]:
    """Make an async function the one that carries out `task_type`.

    It takes ids, not objects, and is safe to run twice: a worker that dies after the work and before its row says so
    makes it run again. An error in `retry_on` is tried again up to `max_attempts` runs; any other one fails the task.
    """

    def register(function: TaskFunction) -> TrackedTask:
        if task_type in REGISTRY:
            raise ValueError(f"{task_type} is carried out by {REGISTRY[task_type].function.__qualname__} already")
        fields: dict[str, Any] = {
            name: (parameter.annotation, ... if parameter.default is parameter.empty else parameter.default)
            for name, parameter in inspect.signature(function, eval_str=True).parameters.items()
        }
        arguments = create_model(f"{function.__name__}_arguments", __config__=ConfigDict(extra="forbid"), **fields)
        made = TrackedTask(task_type, function, retry_on, max_attempts, timeout, arguments)
        REGISTRY[task_type] = made
        return made

    return register

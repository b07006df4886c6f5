"""`@task`: a function that runs because of a `background_tasks` row, once, and whose row says what became of it."""

import inspect
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

from pydantic import ConfigDict, create_model

from app.models.background_task import TaskType
from app.services import tasks
from app.worker.context import TaskContext

TaskFunction = Callable[..., Awaitable[dict[str, Any] | None]]
ABOUT_THE_ROW = frozenset(inspect.signature(tasks.enqueue).parameters)
HIDDEN = "[hidden]"


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
    context: str | None = None
    """The name of the function's parameter that gets its `TaskContext`."""
    sensitive: frozenset[str] = frozenset()
    """Arguments that are shown to nobody."""

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
    max_attempts: int = 8,
    timeout: timedelta = timedelta(minutes=2),
    sensitive: Collection[str] = (),
) -> Callable[[TaskFunction], TrackedTask]:
    """Make an async function the one that carries out `task_type`.

    It takes ids, not objects, and is safe to run twice: a worker that dies after the work and before its row says so
    makes it run again. An error in `retry_on` is tried again up to `max_attempts` runs; any other one fails the task.
    A run ends at `timeout`, also one that never awaits. A parameter `ctx: TaskContext` gets the run's context. What
    `sensitive` names is shown by no command and no answer.

    Raises:
        ValueError: the type has a function already, or a parameter's name is one of `tasks.enqueue`'s own.
    """

    def register(function: TaskFunction) -> TrackedTask:
        if task_type in REGISTRY:
            raise ValueError(f"{task_type} is carried out by {REGISTRY[task_type].function.__qualname__} already")
        parameters = dict(inspect.signature(function, eval_str=True).parameters)
        context = next((name for name, one in parameters.items() if one.annotation is TaskContext), None)
        parameters.pop(context or "", None)
        if taken := ABOUT_THE_ROW & parameters.keys():
            raise ValueError(f"{function.__qualname__}: `enqueue` takes {', '.join(sorted(taken))} for itself")
        if unknown := set(sensitive) - parameters.keys():
            raise ValueError(f"{function.__qualname__} has no parameter {', '.join(sorted(unknown))}")
        fields: dict[str, Any] = {
            name: (parameter.annotation, ... if parameter.default is parameter.empty else parameter.default)
            for name, parameter in parameters.items()
        }
        arguments = create_model(f"{function.__name__}_arguments", __config__=ConfigDict(extra="forbid"), **fields)
        REGISTRY[task_type] = TrackedTask(
            task_type, function, retry_on, max_attempts, timeout, arguments, context, frozenset(sensitive)
        )
        return REGISTRY[task_type]

    return register


def shown(task_type: str, task_data: dict[str, Any]) -> dict[str, Any]:
    """A row's arguments as an operator may see them. Those of a type that the code does not know are hidden."""
    tracked = REGISTRY.get(task_type)
    return {
        name: HIDDEN if tracked is None or name in tracked.sensitive else value for name, value in task_data.items()
    }

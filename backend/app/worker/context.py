"""What a running task may know of itself."""

from contextvars import ContextVar
from uuid import UUID

current_task: ContextVar[UUID] = ContextVar("current_task")
"""The id of the `background_tasks` row that is being carried out."""

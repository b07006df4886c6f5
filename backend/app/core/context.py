"""What every layer may know of the request that it works for: which one it is, and where it came from."""

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Origin:
    """A request's id, its client's address and its user agent."""

    request_id: str
    ip: str | None
    user_agent: str | None


origin: ContextVar[Origin | None] = ContextVar("origin", default=None)
"""None outside requests: in the worker, the scheduler and on the command line."""

"""Health over the wire."""

from enum import StrEnum
from typing import Literal

from pydantic import Field

from app.schemas.base import Output, Timestamp


class State(StrEnum):
    healthy = "healthy"
    degraded = "degraded"
    unhealthy = "unhealthy"


class Liveness(Output):
    status: Literal["healthy"] = "healthy"
    timestamp: Timestamp
    version: str


class Check(Output):
    status: State
    latency_ms: float = Field(ge=0, description="how long the part took to answer")


class Checks(Output):
    database: Check
    redis: Check
    worker: Check
    migrations: Check
    config: Check


class Readiness(Output):
    status: State
    timestamp: Timestamp
    version: str
    checks: Checks

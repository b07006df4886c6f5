"""Which errors say that the database cannot be used now."""

import socket

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

_CANNOT_NOW = {"08", "53", "57", "40", "28", "3D"}
"""Classes of SQLSTATE: the connection, resources, the operator, a conflict, the role, the database's name."""
_NOT_MIGRATED = "42P01"
_LOCK_TIMEOUT = "55P03"


def sqlstate(error: BaseException) -> str:
    """PostgreSQL's code of an error, which comes as the driver's own where it refuses a connection; else empty."""
    return str(getattr(getattr(error, "orig", error), "sqlstate", None) or "")


def is_unavailable(error: BaseException) -> bool:
    """Whether `error` says that the database cannot be used now, and not that we erred.

    It is away, too busy, refuses our role, is not there or not migrated yet, or broke up a deadlock.
    """
    if isinstance(error, (PoolTimeout, ConnectionError, TimeoutError, socket.gaierror)):
        return True
    state = sqlstate(error)
    if state[:2] in _CANNOT_NOW or state in (_NOT_MIGRATED, _LOCK_TIMEOUT):
        return True
    return isinstance(error, DBAPIError) and (
        error.connection_invalidated or isinstance(error, (InterfaceError, OperationalError))
    )

"""The only clock of the process. Expiry reads it, so that tests can move it; leases use the database's clock."""

from datetime import UTC, datetime, timedelta

_shift = timedelta(0)


def utc_now() -> datetime:
    """The present, aware and in UTC."""
    return datetime.now(UTC) + _shift


def shifted() -> timedelta:
    """How far this process's clock stands off the machine's."""
    return _shift


def shift(by: timedelta) -> None:
    """Set how far this process's clock stands off the machine's. For tests; `timedelta(0)` puts it right again."""
    global _shift
    _shift = by

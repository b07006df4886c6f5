"""The tasks. Importing this package registers every one."""

from app.worker.tasks import accounts, email

__all__ = ["accounts", "email"]

"""The tasks. Importing this package registers every one."""

from app.worker.tasks import email

__all__ = ["email"]

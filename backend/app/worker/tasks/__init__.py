"""The tasks. Importing this package registers every one."""

from app.worker.tasks import accounts, email, maintenance

__all__ = ["accounts", "email", "maintenance"]

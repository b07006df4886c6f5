"""Statements, one question each. They flush and never commit; absent is None; a race is settled in SQL."""

from app.crud import change, export, heartbeat, mail_token, principal, session, task, user

__all__ = ["change", "export", "heartbeat", "mail_token", "principal", "session", "task", "user"]

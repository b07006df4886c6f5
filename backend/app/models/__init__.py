"""Tables. Importing this package registers every one with `SQLModel.metadata`."""

from app.models.background_task import BackgroundTask, TaskStatus, TaskType
from app.models.change import Change
from app.models.heartbeat import Heartbeat
from app.models.installation import Installation
from app.models.mail_token import MailPurpose, MailToken
from app.models.user import User
from app.models.user_session import UserSession

__all__ = [
    "BackgroundTask",
    "Change",
    "Heartbeat",
    "Installation",
    "MailPurpose",
    "MailToken",
    "TaskStatus",
    "TaskType",
    "User",
    "UserSession",
]

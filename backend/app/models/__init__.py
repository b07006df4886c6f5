"""Tables. Importing this package registers every one with `SQLModel.metadata`, those of a file of your own too."""

from importlib import import_module
from pkgutil import iter_modules

from app.models.audit import Action, AuditEvent, AuditOrigin, AuditSeal, AuditUnsealed
from app.models.background_task import BackgroundTask, TaskStatus, TaskType
from app.models.change import Change
from app.models.config_revision import ConfigRevision
from app.models.export import Export, ExportChunk
from app.models.heartbeat import Heartbeat
from app.models.idempotency_key import IdempotencyKey
from app.models.installation import Installation
from app.models.known_device import KnownDevice
from app.models.lease import Lease
from app.models.mail_budget import MailBudget
from app.models.mail_token import MailPurpose, MailToken
from app.models.task_queue import PausedQueue
from app.models.task_schedule import TaskSchedule
from app.models.user import User
from app.models.user_session import UserSession

__all__ = [
    "Action",
    "AuditEvent",
    "AuditOrigin",
    "AuditSeal",
    "AuditUnsealed",
    "BackgroundTask",
    "Change",
    "ConfigRevision",
    "Export",
    "ExportChunk",
    "Heartbeat",
    "IdempotencyKey",
    "Installation",
    "KnownDevice",
    "Lease",
    "MailBudget",
    "MailPurpose",
    "MailToken",
    "PausedQueue",
    "TaskSchedule",
    "TaskStatus",
    "TaskType",
    "User",
    "UserSession",
]

for _found in iter_modules(__path__):
    import_module(f"{__name__}.{_found.name}")

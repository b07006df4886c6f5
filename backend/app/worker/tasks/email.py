"""Mails. Each has the Message-ID of its row, so that one that was sent twice, its answer lost, can be told."""

from uuid import UUID

from aiosmtplib import SMTPException

from app.core.email import MailUnavailable
from app.models.background_task import TaskType
from app.services import verification
from app.worker.context import current_task
from app.worker.tracking import task

TRY_AGAIN = (SMTPException, OSError, MailUnavailable)


@task(TaskType.verify_email, retry_on=TRY_AGAIN, max_attempts=12)
async def verify_email(user_id: UUID) -> None:
    """The link that proves an address."""
    await verification.send_verification(user_id, message_id=current_task.get())


@task(TaskType.email_taken, retry_on=TRY_AGAIN, max_attempts=12)
async def email_taken(user_id: UUID) -> None:
    """Tell an owner that their address was used to register."""
    await verification.tell_email_taken(user_id, message_id=current_task.get())


@task(TaskType.welcome_email, retry_on=TRY_AGAIN, max_attempts=12)
async def send_welcome_email(user_id: UUID) -> None:
    """Welcome an account whose address is verified."""
    await verification.welcome(user_id, message_id=current_task.get())

"""Mails. Each has the Message-ID of its row, so that one that was sent twice, its answer lost, can be told."""

from typing import Literal
from uuid import UUID

from aiosmtplib import SMTPException

from app.core.email import MailUnavailable
from app.models.background_task import TaskType
from app.models.mail_token import MailPurpose
from app.services import sending
from app.services.mailing import Notice
from app.worker.context import current_task
from app.worker.tracking import task

TRY_AGAIN = (SMTPException, OSError, MailUnavailable)
"""Not MailRefused: the same mail would be refused again."""
ATTEMPTS = 140
"""A mail server may be away for four hours. Of the 139 pauses the first 8 last up to 2, 4, … 256 s, the others up to
300 s, with full jitter: half of that on average, 255 + 131 x 150 = 19,905 s in all (5.5 h). The standard deviation is
sqrt(131) x 300 / sqrt(12) = 991 s; four hours are 5.5 of these away."""


@task(TaskType.verify_email, retry_on=TRY_AGAIN, max_attempts=ATTEMPTS)
async def verify_email(user_id: UUID) -> None:
    """The link that proves an account's address."""
    await sending.send_newest(user_id, MailPurpose.verify, message_id=current_task.get())


@task(TaskType.claim_email, retry_on=TRY_AGAIN, max_attempts=ATTEMPTS)
async def claim_email(token_id: UUID) -> None:
    """The link of a later registration of an address that nobody has proven yet."""
    await sending.send_link(token_id, MailPurpose.claim, message_id=current_task.get())


@task(TaskType.email_taken, retry_on=TRY_AGAIN, max_attempts=ATTEMPTS)
async def email_taken(user_id: UUID) -> None:
    """Tell an owner that their address was to be used for an account."""
    await sending.send_to_owner(user_id, "email_taken", message_id=current_task.get())


@task(TaskType.welcome_email, retry_on=TRY_AGAIN, max_attempts=ATTEMPTS)
async def send_welcome_email(user_id: UUID) -> None:
    """Welcome an account whose address is verified."""
    await sending.send_to_owner(user_id, "welcome", message_id=current_task.get())


@task(TaskType.reset_email, retry_on=TRY_AGAIN, max_attempts=ATTEMPTS)
async def reset_email(user_id: UUID) -> None:
    """The link that sets a new password."""
    await sending.send_newest(user_id, MailPurpose.reset, message_id=current_task.get())


@task(TaskType.change_email, retry_on=TRY_AGAIN, max_attempts=ATTEMPTS)
async def change_email(user_id: UUID) -> None:
    """The link that moves an account to a new address, to that address."""
    await sending.send_newest(user_id, MailPurpose.change, message_id=current_task.get())


@task(TaskType.undo_email, retry_on=TRY_AGAIN, max_attempts=ATTEMPTS)
async def undo_email(token_id: UUID, mail: Literal["change_asked", "email_changed"]) -> None:
    """Tell the old address of the change, with the link that undoes it."""
    await sending.send_link(token_id, mail, message_id=current_task.get())


@task(TaskType.security_notice, retry_on=TRY_AGAIN, max_attempts=ATTEMPTS, sensitive=("ip",))
async def security_notice(user_id: UUID, notice: Notice, at: str, ip: str) -> None:
    """Tell an owner what happened to their account, when and from where."""
    await sending.send_to_owner(user_id, notice, message_id=current_task.get(), at=at, ip=ip)

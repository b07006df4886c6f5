from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, Index, Integer
from sqlmodel import Field, SQLModel

from app.core.clock import utc_now
from app.core.masking import Mask, masked
from app.core.sql import UTCDateTime
from app.models.base import Table


class Action(StrEnum):
    """What is audited, as `noun_verbed`. A name stands for ever: rows with it are never changed."""

    user_registered = "user_registered"
    user_deleted = "user_deleted"
    user_disabled = "user_disabled"
    user_enabled = "user_enabled"
    user_verified = "user_verified"
    user_unverified = "user_unverified"
    profile_updated = "profile_updated"
    admin_created = "admin_created"
    admin_granted = "admin_granted"
    admin_revoked = "admin_revoked"
    support_granted = "support_granted"
    support_revoked = "support_revoked"
    sign_in_failed = "sign_in_failed"
    address_registered_again = "address_registered_again"
    verification_asked = "verification_asked"
    email_verified = "email_verified"
    email_change_asked = "email_change_asked"
    email_changed = "email_changed"
    email_change_undone = "email_change_undone"
    password_reset_asked = "password_reset_asked"  # noqa: S105 - what is audited, no secret
    password_reset = "password_reset"  # noqa: S105 - what is audited, no secret
    password_changed = "password_changed"  # noqa: S105 - what is audited, no secret
    password_refused = "password_refused"  # noqa: S105 - what is audited, no secret
    """Somebody who is signed in gave a wrong one: the owner, or who holds a stolen access token."""
    session_opened = "session_opened"
    session_ended = "session_ended"
    session_reauthenticated = "session_reauthenticated"
    session_replayed = "session_replayed"
    signing_key_rotated = "signing_key_rotated"
    root_key_adopted = "root_key_adopted"
    export_requested = "export_requested"
    task_cancelled = "task_cancelled"
    task_retried = "task_retried"
    queue_paused = "queue_paused"
    queue_resumed = "queue_resumed"
    config_changed = "config_changed"


class AuditEvent(Table, table=True):
    """What somebody did, written in the same transaction. Triggers refuse to change or delete it, on both engines.

    A trigger puts each new row's id into `audit_unsealed`. Persons stand here by id only: who an id was goes with the
    account, and where a request came from goes with `audit_origins`.
    """

    __tablename__ = "audit_events"
    __table_args__ = (
        Index(None, "actor_id", "id"),
        Index(None, "action", "id"),
        Index(None, "target_id", "id"),
    )

    actor_id: UUID | None = None
    """Who did it: an account, or None for a stranger and for the operator's command line."""
    action: str = Field(max_length=64)
    target_type: str | None = Field(default=None, max_length=32)
    target_id: str | None = Field(default=None, max_length=64)
    result: str = Field(max_length=16)
    request_id: str | None = Field(default=None, max_length=128)
    origin: str | None = Field(default=None, max_length=64)
    """SHA-256 over the salt, address and user agent of `audit_origins` (`services.chain`), hexadecimal."""


class AuditOrigin(SQLModel, table=True):
    """Where an audited request came from. It goes with the account, or with age; the chain does not notice."""

    __tablename__ = "audit_origins"
    __table_args__ = (Index(None, "user_id"), Index(None, "created_at"))

    event_id: UUID = Field(foreign_key="audit_events.id", primary_key=True)
    user_id: UUID | None = Field(default=None, foreign_key="users.id", ondelete="CASCADE")
    created_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime, nullable=False)
    salt: bytes = Field(repr=False, sa_column_kwargs=masked(Mask.token))
    ip: str | None = Field(default=None, max_length=45, sa_column_kwargs=masked(Mask.ip))
    user_agent: str | None = Field(default=None, max_length=255, sa_column_kwargs=masked(Mask.nothing))


class AuditUnsealed(SQLModel, table=True):
    """The events that the sealer has still to append to the chain. Filled by a trigger."""

    __tablename__ = "audit_unsealed"

    event_id: UUID = Field(foreign_key="audit_events.id", primary_key=True)


class AuditSeal(SQLModel, table=True):
    """One link of the chain: a MAC over the seal before and the event. Triggers refuse to change or delete it."""

    __tablename__ = "audit_seals"

    sequence: int = Field(
        primary_key=True,
        sa_type=BigInteger().with_variant(Integer(), "sqlite"),
        sa_column_kwargs={"autoincrement": False},
    )
    event_id: UUID = Field(unique=True)
    key_id: str = Field(max_length=16)
    mac: bytes = Field(repr=False)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime, nullable=False)

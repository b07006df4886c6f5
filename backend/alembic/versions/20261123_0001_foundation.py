"""The first tables: accounts, sessions, promised work, the feed of changes

Each index has its question:
- uq_users_email: one account an address, and sign-in.
- uq_user_sessions_session_token: no two sessions with one refresh token.
- ix_user_sessions_user_id_last_used_at: a user's sessions, the oldest first; erasure with the account.
- ix_user_sessions_expires_at: the sweep of those that ended.
- ix_background_tasks_due: what the relay takes, the due rows of a queue by priority.
- ix_background_tasks_lease: leases that ran out.
- ix_background_tasks_owner: a user's tasks, the newest first; erasure with the account.
- ix_background_tasks_completed: the sweep of those that are over.
- uq_mail_tokens_user_id_purpose: one link a user and purpose; erasure with the account.
- ix_mail_tokens_expires_at: the sweep of old ones.
- ix_changes_xid: rows of transactions that were open at the last look.
- ix_changes_created_at: the sweep of old ones.
- ix_heartbeats_role: whether a worker lives.
"""

from uuid import UUID

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from app.core.sql import UTCDateTime, new_id

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _owner(nullable: bool = False) -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("user_id", sa.Uuid(), nullable=nullable),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
    ]


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.Column("email", sa.String(320), nullable=False),
        sa.Column("hashed_password", sa.String(255), nullable=False),
        sa.Column("full_name", sa.String(200)),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("is_verified", sa.Boolean(), nullable=False),
        sa.Column("roles", JSON, nullable=False),
        sa.Column("updated_at", UTCDateTime(), nullable=False),
        sa.UniqueConstraint("email"),
    )
    op.create_table(
        "user_sessions",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        *_owner(),
        sa.Column("session_token", sa.String(64), nullable=False),
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("rotated_at", UTCDateTime(), nullable=False),
        sa.Column("authenticated_at", UTCDateTime(), nullable=False),
        sa.Column("last_used_at", UTCDateTime(), nullable=False),
        sa.Column("expires_at", UTCDateTime(), nullable=False),
        sa.Column("revoked_at", UTCDateTime()),
        sa.Column("revoked_reason", sa.String(32)),
        sa.Column("ip", sa.String(45)),
        sa.Column("user_agent", sa.String(255)),
        sa.UniqueConstraint("session_token"),
    )
    op.create_index("ix_user_sessions_user_id_last_used_at", "user_sessions", ["user_id", "last_used_at"])
    op.create_index("ix_user_sessions_expires_at", "user_sessions", ["expires_at"])
    op.create_table(
        "mail_tokens",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        *_owner(),
        sa.Column("purpose", sa.String(16), nullable=False),
        sa.Column("email", sa.String(320), nullable=False),
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", UTCDateTime(), nullable=False),
    )
    op.create_index("uq_mail_tokens_user_id_purpose", "mail_tokens", ["user_id", "purpose"], unique=True)
    op.create_index("ix_mail_tokens_expires_at", "mail_tokens", ["expires_at"])
    op.create_table(
        "background_tasks",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.Column("task_type", sa.String(64), nullable=False),
        sa.Column("task_data", JSON, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        *_owner(nullable=True),
        sa.Column("queue", sa.String(32), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("run_at", UTCDateTime(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("lease_until", UTCDateTime()),
        sa.Column("progress", sa.Float(), nullable=False),
        sa.Column("message", sa.String(500)),
        sa.Column("started_at", UTCDateTime()),
        sa.Column("completed_at", UTCDateTime()),
        sa.Column("result", JSON),
        sa.Column("error_code", sa.String(64)),
        sa.Column("error_detail", sa.String(1000)),
    )
    pending, leased = sa.text("status = 'pending'"), sa.text("status IN ('queued', 'running')")
    op.create_index(
        "ix_background_tasks_due",
        "background_tasks",
        ["queue", "priority", "run_at"],
        sqlite_where=pending,
        postgresql_where=pending,
    )
    op.create_index(
        "ix_background_tasks_lease", "background_tasks", ["lease_until"], sqlite_where=leased, postgresql_where=leased
    )
    op.create_index("ix_background_tasks_owner", "background_tasks", ["user_id", "id"])
    op.create_index("ix_background_tasks_completed", "background_tasks", ["completed_at"])
    op.create_table(
        "changes",
        sa.Column("id", BIG_ID, primary_key=True),
        sa.Column("topic", sa.String(32), nullable=False),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("xid", sa.BigInteger(), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_changes_xid", "changes", ["xid"])
    op.create_index("ix_changes_created_at", "changes", ["created_at"])
    op.create_table(
        "heartbeats",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("seen_at", UTCDateTime(), nullable=False),
    )
    op.create_index("ix_heartbeats_role", "heartbeats", ["role"])
    installation = op.create_table(
        "installation",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("uid", sa.Uuid(), nullable=False),
        sa.CheckConstraint("id = 1", name="single"),
    )
    uid: UUID = new_id()
    op.bulk_insert(installation, [{"id": 1, "uid": uid}])


def downgrade() -> None:
    for table in ("installation", "heartbeats", "changes", "background_tasks", "mail_tokens", "user_sessions", "users"):
        op.drop_table(table)

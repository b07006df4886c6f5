"""Tasks: one a key while it lives, a revision for who watches, asking to stop; paused queues and schedules

Each index has its question:
- ix_background_tasks_run_at: whether anything is due at all, and since when, asked each second.
- ix_background_tasks_unsuccessful: what an operator looks for among the many that went well, the newest first.
- uq_background_tasks_dedupe_key: one task that is alive for each key.

Lint: index-without-concurrently - released when no installation had rows; it stays as it ran
"""

import sqlalchemy as sa
from alembic import op

from app.core.sql import UTCDateTime

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | None = None
depends_on: str | None = None

TABLE = "background_tasks"
PENDING = sa.text("status = 'pending'")
UNSUCCESSFUL = sa.text("status IN ('failed', 'cancelled')")
ALIVE = sa.text("dedupe_key IS NOT NULL AND status IN ('pending', 'queued', 'running')")


def upgrade() -> None:
    op.add_column(TABLE, sa.Column("dedupe_key", sa.String(200)))
    op.add_column(TABLE, sa.Column("cancel_requested", sa.Boolean(), nullable=False, server_default=sa.text("false")))
    op.add_column(TABLE, sa.Column("revision", sa.Integer(), nullable=False, server_default=sa.text("1")))
    op.create_index("ix_background_tasks_run_at", TABLE, ["run_at"], sqlite_where=PENDING, postgresql_where=PENDING)
    op.create_index(
        "ix_background_tasks_unsuccessful", TABLE, ["id"], sqlite_where=UNSUCCESSFUL, postgresql_where=UNSUCCESSFUL
    )
    op.create_index(
        "uq_background_tasks_dedupe_key", TABLE, ["dedupe_key"], unique=True, sqlite_where=ALIVE, postgresql_where=ALIVE
    )
    op.create_table(
        "paused_queues",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("paused_at", UTCDateTime(), nullable=False),
    )
    op.create_table(
        "task_schedules",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("declared", sa.String(200), nullable=False),
        sa.Column("due_at", UTCDateTime(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("task_schedules")
    op.drop_table("paused_queues")
    for index in ("uq_background_tasks_dedupe_key", "ix_background_tasks_unsuccessful", "ix_background_tasks_run_at"):
        op.drop_index(index, TABLE)
    for column in ("revision", "cancel_requested", "dedupe_key"):
        op.drop_column(TABLE, column)

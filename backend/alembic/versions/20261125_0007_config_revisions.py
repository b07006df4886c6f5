"""Dynamic settings and flags, with every revision

- uq_config_revisions_key_revision: of two changes of a key at once one is refused; a key's last change.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from app.core.sql import UTCDateTime

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | None = None
depends_on: str | None = None

JSON = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "config_revisions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("before", JSON),
        sa.Column("after", JSON),
        sa.Column("comment", sa.String(500)),
        sa.Column("actor_id", sa.Uuid()),
        sa.PrimaryKeyConstraint("id", name="pk_config_revisions"),
        sa.UniqueConstraint("key", "revision", name="uq_config_revisions_key_revision"),
    )


def downgrade() -> None:
    op.drop_table("config_revisions")

"""Signing keys that have been retired, and until when each of them verifies"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | None = None
depends_on: str | None = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.add_column("installation", sa.Column("signing_retired", JSON, nullable=False, server_default="{}"))


def downgrade() -> None:
    op.drop_column("installation", "signing_retired")

"""An index over the accounts whose address nobody has proven: the sweep read every account to find them

- ix_users_unproven: those made before a moment, for that sweep.

Lint: index-without-concurrently - released when no installation had rows; it stays as it ran
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | None = None
depends_on: str | None = None

UNPROVEN = sa.text("NOT is_verified AND roles = '[]'")


def upgrade() -> None:
    op.create_index("ix_users_unproven", "users", ["created_at"], sqlite_where=UNPROVEN, postgresql_where=UNPROVEN)


def downgrade() -> None:
    op.drop_index("ix_users_unproven", "users")

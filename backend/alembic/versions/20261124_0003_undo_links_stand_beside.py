"""Links that bring an old address back stand beside each other: a second change must not make the first one final

The index holds one link a user and purpose; those of `undo` now go by address, and the code keeps one an address.

Lint: index-without-concurrently - released when no installation had rows; it stays as it ran
Lint: require-concurrent-index-deletion - released when no installation had rows; it stays as it ran
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | None = None
depends_on: str | None = None

NAME, COLUMNS = "uq_mail_tokens_user_id_purpose", ["user_id", "purpose"]


def _index(where: str) -> None:
    op.drop_index(NAME, "mail_tokens")
    op.create_index(
        NAME, "mail_tokens", COLUMNS, unique=True, sqlite_where=sa.text(where), postgresql_where=sa.text(where)
    )


def upgrade() -> None:
    _index("purpose NOT IN ('claim', 'undo')")


def downgrade() -> None:
    # Of several, the oldest is the one that brings the account back to where it was.
    op.execute(
        "DELETE FROM mail_tokens WHERE purpose = 'undo' AND EXISTS (SELECT 1 FROM mail_tokens AS older "
        "WHERE older.user_id = mail_tokens.user_id AND older.purpose = 'undo' AND older.id < mail_tokens.id)"
    )
    _index("purpose <> 'claim'")

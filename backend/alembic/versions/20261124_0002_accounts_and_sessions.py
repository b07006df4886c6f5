"""What accounts and sessions need to hold against attackers: audit, devices, budgets, idempotency, exports

Each index has its question:
- ix_users_staff: who is an admin, asked under a lock at each change of one; it has the few accounts with a role alone.
- ix_audit_events_actor_id_id, ix_audit_events_action_id, ix_audit_events_target_id_id: the audit, the newest first.
- uq_audit_seals_event_id: one seal an event. uq_exports_user_id: one an account.
- ix_audit_origins_user_id: erasure with the account. ix_audit_origins_created_at,
  ix_known_devices_seen_at, ix_mail_budgets_updated_at, ix_idempotency_keys_created_at, ix_exports_expires_at: sweeps.
- uq_idempotency_keys_caller_route_key: one answer a key; ix_idempotency_keys_user_id, ix_mail_tokens_user_id: erasure.

Lint: index-without-concurrently - released when no installation had rows; it stays as it ran
Lint: require-concurrent-index-deletion - released when no installation had rows; it stays as it ran
Lint: unseen - it takes rights from a role and touches no row
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from app.core.sql import UTCDateTime

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels = depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NO_CLAIM, HAS_ROLES = (
    {"sqlite_where": sa.text(where), "postgresql_where": sa.text(where)}
    for where in ("purpose <> 'claim'", "roles <> '[]'")
)
SEALED = {
    "audit_events": "SELECT 1 FROM audit_events WHERE id = NEW.id OR rowid = NEW.rowid",
    "audit_seals": "SELECT 1 FROM audit_seals WHERE sequence = NEW.sequence OR event_id = NEW.event_id",
}
"""Tables whose rows nobody changes or deletes, by triggers and grants; which rows are in a new one's way."""


def _owner(*, nullable: bool = False) -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("user_id", sa.Uuid(), nullable=nullable),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
    ]


def upgrade() -> None:
    op.add_column("users", sa.Column("locale", sa.String(8), nullable=False, server_default="en"))
    op.create_index("ix_users_staff", "users", ["id"], **HAS_ROLES)
    op.add_column("installation", sa.Column("signing_number", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("installation", sa.Column("signing_since", UTCDateTime()))
    op.add_column("installation", sa.Column("secret_check", sa.String(64)))
    op.add_column("mail_tokens", sa.Column("hashed_password", sa.String(255)))
    op.add_column("mail_tokens", sa.Column("full_name", sa.String(200)))
    op.drop_index("uq_mail_tokens_user_id_purpose", "mail_tokens")
    op.create_index("uq_mail_tokens_user_id_purpose", "mail_tokens", ["user_id", "purpose"], unique=True, **NO_CLAIM)
    op.create_index("ix_mail_tokens_user_id", "mail_tokens", ["user_id"])
    _audit()
    op.create_table(
        "known_devices",
        *_owner(),
        sa.Column("network", sa.String(49), nullable=False),
        sa.Column("agent", sa.String(32), nullable=False),
        sa.Column("seen_at", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "network", "agent"),
    )
    op.create_index("ix_known_devices_seen_at", "known_devices", ["seen_at"])
    op.create_table(
        "mail_budgets",
        sa.Column("address", sa.String(64), primary_key=True),
        sa.Column("promised", JSON, nullable=False),
        sa.Column("updated_at", UTCDateTime(), nullable=False),
    )
    op.create_index("ix_mail_budgets_updated_at", "mail_budgets", ["updated_at"])
    op.create_table(
        "idempotency_keys",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.Column("caller", sa.String(80), nullable=False),
        *_owner(nullable=True),
        sa.Column("route", sa.String(120), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("body", sa.String(64), nullable=False),
        sa.Column("lease_until", UTCDateTime()),
        sa.Column("status", sa.Integer()),
        sa.Column("headers", JSON),
        sa.Column("answer", sa.LargeBinary()),
        sa.UniqueConstraint("caller", "route", "key"),
    )
    op.create_index("ix_idempotency_keys_user_id", "idempotency_keys", ["user_id"])
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
    op.create_table(
        "exports",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        *_owner(),
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("size", sa.Integer()),
        sa.Column("expires_at", UTCDateTime(), nullable=False),
        sa.UniqueConstraint("user_id"),
    )
    op.create_index("ix_exports_expires_at", "exports", ["expires_at"])
    op.create_table(
        "export_chunks",
        sa.Column("export_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["export_id"], ["exports.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("export_id", "number"),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("holder", sa.Uuid(), nullable=False),
        sa.Column("until", UTCDateTime(), nullable=False),
    )


def _audit() -> None:
    op.create_table(
        "audit_events",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.Column("actor_id", sa.Uuid()),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("target_type", sa.String(32)),
        sa.Column("target_id", sa.String(64)),
        sa.Column("result", sa.String(16), nullable=False),
        sa.Column("request_id", sa.String(128)),
        sa.Column("origin", sa.String(64)),
    )
    for column in ("actor_id", "action", "target_id"):
        op.create_index(f"ix_audit_events_{column}_id", "audit_events", [column, "id"])
    op.create_table(
        "audit_origins",
        sa.Column("event_id", sa.Uuid(), primary_key=True),
        *_owner(nullable=True),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("ip", sa.String(45)),
        sa.Column("user_agent", sa.String(255)),
        sa.ForeignKeyConstraint(["event_id"], ["audit_events.id"]),
    )
    op.create_index("ix_audit_origins_user_id", "audit_origins", ["user_id"])
    op.create_index("ix_audit_origins_created_at", "audit_origins", ["created_at"])
    op.create_table(
        "audit_unsealed",
        sa.Column("event_id", sa.Uuid(), primary_key=True),
        sa.ForeignKeyConstraint(["event_id"], ["audit_events.id"]),
    )
    op.create_table(
        "audit_seals",
        sa.Column("sequence", BIG, primary_key=True, autoincrement=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.UniqueConstraint("event_id"),
    )
    if op.get_bind().dialect.name == "sqlite":
        _triggers_sqlite()
    else:
        _triggers_postgresql()


def _triggers_sqlite() -> None:
    for table, taken in SEALED.items():
        # INSERT OR REPLACE deletes what is in its way without asking the trigger of DELETE.
        for verb, when in (("UPDATE", ""), ("DELETE", ""), ("INSERT", f"WHEN EXISTS ({taken})")):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} {when} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is only added to'); END"
            )
    op.execute(
        "CREATE TRIGGER audit_events_to_seal AFTER INSERT ON audit_events "
        "BEGIN INSERT INTO audit_unsealed (event_id) VALUES (NEW.id); END"
    )


def _triggers_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '% is only added to', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege'; END $$"
    )
    op.execute(
        "CREATE FUNCTION audit_to_seal() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO audit_unsealed (event_id) VALUES (NEW.id); RETURN NULL; END $$"
    )
    for table in SEALED:
        op.execute(
            f"CREATE TRIGGER {table}_refuse BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()"
        )
    op.execute(
        "CREATE TRIGGER audit_events_to_seal AFTER INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION audit_to_seal()"
    )
    # The runtime role of deploy/postgres/roles.sql, where it is in use.
    op.execute(
        "DO $$ BEGIN IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'neoforge_app') THEN "
        "REVOKE UPDATE, DELETE, TRUNCATE ON audit_events, audit_seals FROM neoforge_app; END IF; END $$"
    )


def downgrade() -> None:
    for table in ("leases", "export_chunks", "exports", "idempotency_keys", "mail_budgets", "known_devices"):
        op.drop_table(table)
    for table in ("audit_seals", "audit_unsealed", "audit_origins", "audit_events"):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_refuse()")
        op.execute("DROP FUNCTION audit_to_seal()")
    op.execute("DELETE FROM mail_tokens WHERE purpose <> 'verify'")  # what the code before knows nothing of
    op.drop_index("ix_mail_tokens_user_id", "mail_tokens")
    op.drop_index("uq_mail_tokens_user_id_purpose", "mail_tokens")
    op.create_index("uq_mail_tokens_user_id_purpose", "mail_tokens", ["user_id", "purpose"], unique=True)
    op.drop_column("mail_tokens", "full_name")
    op.drop_column("mail_tokens", "hashed_password")
    for column in ("secret_check", "signing_since", "signing_number"):
        op.drop_column("installation", column)
    op.drop_index("ix_users_staff", "users")
    op.drop_column("users", "locale")

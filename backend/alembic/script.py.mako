"""${message}${config.attributes.get("rollback", "")}"""
<%
    body = f"{upgrades} {downgrades}"
    lines = sorted(set((imports or "").splitlines()))
    own = [line for line in lines if line.split()[1].startswith("app.")]
    plain = [line for line in lines if line.startswith("import ") and line not in own]
    third = ["from alembic import op"] if "op." in body else []
    third += [line for line in lines if line not in plain and line not in own]
    plain = (["import sqlalchemy as sa"] if "sa." in body else []) + plain
    blocks = [block for block in (plain + third, own) if block]
%>
${"\n\n".join("\n".join(block) for block in blocks)}

revision: str = ${repr(up_revision)}
down_revision: str | None = ${repr(down_revision)}
branch_labels: str | None = ${repr(branch_labels)}
depends_on: str | None = ${repr(depends_on)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}

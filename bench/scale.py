"""The endpoints over 100,000 accounts, 1,000,000 sessions and 1,000,000 tasks, beside the same over a page of each.

BENCH_USERS=10000 makes a tenth of all three.
"""

import os
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from statistics import median

from bench.measuring import ROUNDS, SECONDS, Figures, in_turn, judge, measure, of_medians, signed_in
from bench.measuring import table as table_of
from bench.stack import Stack, machine, stack
from tests.services import execute

USERS = int(os.environ.get("BENCH_USERS", "100000"))
EACH = 10  # sessions, and tasks, of an account
CALLERS, CONNECTIONS, PAGE = 200, 8, 25
GOAL = 1.5

# A UUIDv7 for each number, the last of them a day ago.
_MADE = f"to_timestamp({int(time.time()) - 86_400}) - {{n}} * interval '0.3 seconds'"
_ID = """(lpad(to_hex((extract(epoch FROM {made}) * 1000)::bigint), 12, '0') || '7' || substr(md5('{kind}' || {n}), 1, 3)
       || '8' || substr(md5('{kind}' || {n}), 4, 15))::uuid"""


def _id(kind: str, n: str) -> str:
    return _ID.format(made=_MADE.format(n=n), kind=kind, n=n)


def filling(users: int) -> tuple[str, ...]:
    """Statements that make so many accounts, and ten times as many sessions and tasks."""
    return (
        f"""INSERT INTO users (id, created_at, updated_at, email, hashed_password, full_name, is_active, is_verified, locale,
                               roles)
            SELECT {_id("user", "n")}, {_MADE.format(n="n")}, now(), 'filled-' || n || '@example.com', '$argon2id$none',
                   'Ada ' || n, true, n % 20 > 0, 'en', '[]' FROM generate_series(1, {users}) n""",
        f"""INSERT INTO user_sessions (id, created_at, user_id, session_token, key_id, salt, generation, rotated_at,
                                       authenticated_at, last_used_at, expires_at, revoked_at, revoked_reason)
            SELECT {_id("session", "n")}, {_MADE.format(n="n")}, {_id("user", f"(n % {users} + 1)")},
                   encode(sha256(('session' || n)::bytea), 'hex'), 'none', '\\x00'::bytea, 1, now(), now(),
                   now() - n % 1000 * interval '1 minute', now() + n % 1000 * interval '10 minutes',
                   CASE WHEN n % 3 = 0 THEN now() END, CASE WHEN n % 3 = 0 THEN 'logout' END
            FROM generate_series(1, {users * EACH}) n""",
        f"""INSERT INTO background_tasks (id, created_at, task_type, task_data, status, user_id, queue, priority, run_at,
                                          attempts, max_attempts, progress, started_at, completed_at, error_code)
            SELECT {_id("task", "n")}, {_MADE.format(n="n")}, 'welcome_email', '{{}}',
                   CASE WHEN n % 100 = 0 OR n <= {PAGE} THEN 'failed' ELSE 'succeeded' END, {_id("user", f"(n % {users} + 1)")}, 'default',
                   5, now(), 1, 8, 1, now(), now() - n % 6000 * interval '1 minute',
                   CASE WHEN n % 100 = 0 OR n <= {PAGE} THEN 'mail_refused' END
            FROM generate_series(1, {users * EACH}) n""",
        "VACUUM ANALYZE",
    )


def endpoints(ours: Stack) -> Mapping[str, Callable[[], Figures]]:
    """What measures each of them once."""
    pairs = signed_in(ours, CALLERS)
    tokens, refresh = [access for access, _ in pairs], iter([token for _, token in pairs])
    execute(ours.database_url, "UPDATE users SET roles = '[\"admin\"]' WHERE email LIKE 'live-0-%'")
    get = partial(measure, ours.port, connections=CONNECTIONS)

    def refreshing() -> Figures:
        mine = [next(refresh) for _ in range(CONNECTIONS)]
        return measure(ours.port, "/api/v1/auth/refresh", CONNECTIONS, SECONDS, mine, "refresh")

    name = secrets.token_hex(4)
    return {
        "GET /users/me": partial(get, "/api/v1/users/me", given=tokens),
        "POST /auth/refresh": refreshing,
        "GET /users/me/sessions": partial(get, "/api/v1/users/me/sessions", given=tokens),
        "GET /users/me/security-events": partial(get, "/api/v1/users/me/security-events", given=tokens),
        "GET /tasks": partial(get, "/api/v1/tasks", given=tokens),
        "GET /admin/users": partial(get, "/api/v1/admin/users", given=tokens[:1]),
        "GET /admin/users?q= a whole address": partial(
            get, f"/api/v1/admin/users?q=nobody-{name}@example.com", given=tokens[:1]
        ),
        "GET /admin/tasks": partial(get, "/api/v1/admin/tasks", given=tokens[:1]),
        "GET /admin/tasks?status=failed": partial(get, "/api/v1/admin/tasks?status=failed", given=tokens[:1]),
        "GET /admin/audit": partial(get, "/api/v1/admin/audit", given=tokens[:1]),
    }


def main() -> int:
    with ExitStack() as both:
        empty, full = both.enter_context(stack()), both.enter_context(stack())
        execute(empty.database_url, *filling(PAGE))  # so that a list has as many rows to show on either side
        began = time.perf_counter()
        execute(full.database_url, *filling(USERS))
        filled = time.perf_counter() - began
        sides = {f"{name}, {which}": side
                 for which, ours in (("empty", empty), ("full", full)) for name, side in endpoints(ours).items()}  # fmt: skip
        names = [name.removesuffix(", full") for name in sides if name.endswith(", full")]
        in_order = {f"{name}, {which}": sides[f"{name}, {which}"] for name in names for which in ("empty", "full")}
        rounds = in_turn(in_order)
    print(machine())
    print(f"{USERS:,} accounts, {USERS * EACH:,} sessions and as many tasks, filled in {filled:.0f} s;", end=" ")
    print(f"{CONNECTIONS} connections, {ROUNDS} rounds of {SECONDS:g} s, medians\n")
    print(table_of(of_medians(rounds)), "\n")
    return judge({
        f"p99 of {name}, full to empty": (
            median(one[f"{name}, full"]["p99_ms"] / one[f"{name}, empty"]["p99_ms"] for one in rounds), GOAL, "<="
        )
        for name in names
    })  # fmt: skip

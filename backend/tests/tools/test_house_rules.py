"""The product keeps the rules of the house, and each rule finds what breaks it."""

import pytest

from tests.services import BACKEND
from tests.tools import house_rules
from tests.tools.house_rules import RULES, Module, Rule, modules

HERE_TOO = (house_rules.suppressions_say_why, house_rules.nothing_is_left_undone)

# Known to be longer: each is one list that reads from top to bottom.
LONG = {"app/core/errors.py"}  # one list of every error that a client can meet

BREAKS: dict[Rule, tuple[str, ...]] = {
    house_rules.commits_stand_where_a_unit_of_work_ends: ("await db.commit()", "session.commit()"),
    house_rules.one_clock: (
        "datetime.now(UTC)",
        "datetime.datetime.utcnow()",
        "date.today()",
        "time.time()",
        "from time import time",
    ),
    house_rules.wide_excepts_say_why: (
        "try: x()\nexcept Exception: pass",
        "try: x()\nexcept: pass",
        "try: x()\nexcept (ValueError, BaseException):  # noqa: BLE001\n    pass",
        "try: x()\nexcept Exception:  # noqa: BLE001 - why\n    pass",
    ),
    house_rules.only_commands_print: ("print('here')",),
    house_rules.suppressions_say_why: (
        "x = 1  # noqa",
        "x = 1  # noqa: E501",
        "x = 1  # type: ignore[attr-defined]",
        "x = 1  # pragma: no cover",
        "x = 1  # type: ignore[attr-defined]  # reason",
    ),
    house_rules.nothing_is_left_undone: ("x = 1  # TO" + "DO: later", "# FIX" + "ME"),
    house_rules.modules_are_short: ("x = 1\n" * 221,),
}

KEEPS: dict[Rule, tuple[str, ...]] = {
    house_rules.commits_stand_where_a_unit_of_work_ends: ("await db.flush()", "def commit(): ..."),
    house_rules.one_clock: ("time.monotonic()", "utc_now()", "parser.now()"),
    house_rules.wide_excepts_say_why: (
        "try: x()\nexcept Exception:\n    raise",
        "try: x()\nexcept Exception as error:\n    raise Other from error",
        "try: x()\nexcept Exception:  # the next round tries again\n    pass",
        "try: x()\nexcept ValueError: pass",
    ),
    house_rules.only_commands_print: ("pprint(x)",),
    house_rules.suppressions_say_why: (
        "x = 1  # noqa: E501 - a link that cannot be broken",
        "x = 1  # type: ignore[attr-defined]  # shipped without types",
        "x = '# noqa'",
    ),
    house_rules.nothing_is_left_undone: ("x = 'todo list'", "todo = []"),
    house_rules.modules_are_short: ("x = 1\n" * 220,),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_product_keeps(rule: Rule) -> None:
    looked_at = list(modules(BACKEND, "app", "alembic", *(["tests"] if rule in HERE_TOO else [])))
    assert len(looked_at) > 50
    broken = [f"{module.path}:{line}" for module in looked_at for line in rule(module)]
    if rule is house_rules.modules_are_short:
        long = {place.partition(":")[0] for place in broken}
        assert long == LONG, "take away what became short; divide what became long"
    else:
        assert not broken


@pytest.mark.parametrize(("rule", "source"), [(rule, source) for rule in RULES for source in BREAKS[rule]])
def test_a_breach_is_found(rule: Rule, source: str) -> None:
    assert list(rule(Module("app/services/planted.py", source)))


@pytest.mark.parametrize(("rule", "source"), [(rule, source) for rule in RULES for source in KEEPS[rule]])
def test_what_keeps_the_rule_is_let_be(rule: Rule, source: str) -> None:
    assert not list(rule(Module("app/services/planted.py", source)))


@pytest.mark.parametrize(
    "path", ["app/api/deps.py", "app/worker/runtime.py", "app/tools/copy.py", "app/cli/accounts.py"]
)
def test_a_unit_of_work_may_commit(path: str) -> None:
    assert not list(house_rules.commits_stand_where_a_unit_of_work_ends(Module(path, "db.commit()")))

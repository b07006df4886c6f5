"""Our own rules for SQL that changes a PostgreSQL in use. Each tells what is locked, rewritten or lost, and what to do.

A table that the migration itself makes is nobody's yet: nothing there is looked at.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

INDEX, NOT_NULL, REWRITE = "index-without-concurrently", "not-null-without-default", "table-rewrite"
LONG, DESTRUCTIVE, CONSTRAINT, SET_NOT_NULL = "long-transaction", "destructive", "constraint-not-valid", "set-not-null"
OWN = frozenset({INDEX, NOT_NULL, REWRITE, LONG, DESTRUCTIVE, CONSTRAINT, SET_NOT_NULL})
Broken = tuple[str, str]
"""A rule, and what breaks it."""


def _sql(pattern: str) -> re.Pattern[str]:
    """A pattern of SQL, in any letter case; NAME stands for a table's name, with or without its schema."""
    name = r'(?:IF (?:NOT )?EXISTS )?(?:ONLY )?(?:"?\w+"?\.)?"?(\w+)"?'
    return re.compile(pattern.replace("NAME", name), re.IGNORECASE | re.DOTALL)


_NEW = _sql(r"CREATE (?:UNLOGGED )?TABLE NAME")
_CREATE_INDEX = _sql(r"CREATE (?:UNIQUE )?INDEX (?!CONCURRENTLY).*? ON NAME")
_ALTER = _sql(r"ALTER TABLE NAME (.*)")
_ADD_COLUMN = _sql(r'ADD (?:COLUMN )?(?:IF NOT EXISTS )?(?!CONSTRAINT\b)"?(\w+)"? (.*)')
_TYPE = _sql(r'ALTER (?:COLUMN )?"?(\w+)"? (?:SET DATA )?TYPE\b')
_SET_NOT_NULL = _sql(r'ALTER (?:COLUMN )?"?(\w+)"? SET NOT NULL')
_DROP_COLUMN = _sql(r'DROP (?:COLUMN )?(?!CONSTRAINT\b)(?:IF EXISTS )?"?(\w+)"?')
_DROP_TABLE = _sql(r"(?:DROP TABLE|TRUNCATE(?: TABLE)?) NAME")
_ALL_ROWS = _sql(r"DELETE FROM NAME$")
_CHECKED = _sql(r"ADD (?:CONSTRAINT \S+ )?(?:FOREIGN KEY|CHECK)\b(?!.*\bNOT VALID\b)")
_UNIQUE = _sql(r"ADD (?:CONSTRAINT \S+ )?(?:UNIQUE|PRIMARY KEY|EXCLUDE)\b(?!.*USING INDEX)")
_DATA = _sql(r"(?:UPDATE|DELETE FROM|INSERT INTO) NAME")
_WITH_DATA = _sql(r"WITH\b.*\b(?:UPDATE|DELETE FROM|INSERT INTO)\b")
_EACH_ROW = _sql(
    r"\b(?:GENERATED|\w*SERIAL)\b|"
    r"\bDEFAULT\b.*\b(?:random|gen_random_uuid|uuidv7|clock_timestamp|timeofday|nextval)\s*\("
)
_STRINGS = re.compile(r"'(?:[^']|'')*'")


@dataclass(frozen=True)
class _Look:
    """One statement, without what stands in quotes, and what goes around it."""

    sql: str
    new: frozenset[str]
    widened: frozenset[tuple[str, str]]

    def altered(self) -> tuple[str, str] | None:
        """The table that is altered and how, when it is not new."""
        found = _ALTER.match(self.sql)
        return None if found is None or found[1] in self.new else (found[1], found[2])


def broken(statements: Sequence[str], widened: set[tuple[str, str]]) -> Iterator[Broken]:
    """What breaks a rule, in the order of the statements."""
    plain = [_STRINGS.sub("''", " ".join(one.split())) for one in statements]
    new = frozenset(found[1] for one in plain if (found := _NEW.match(one)))
    for one in plain:
        look = _Look(one, new, frozenset(widened))
        for rule in _RULES:
            yield from rule(look)
    yield from _long_transactions(plain, new)


def _index(look: _Look) -> Iterator[Broken]:
    found = _CREATE_INDEX.match(look.sql)
    if found and found[1] not in look.new:
        yield INDEX, f"writers of {found[1]} wait until the index is made: app.tools.online.create_index"


def _column(look: _Look) -> Iterator[Broken]:
    if not (altered := look.altered()) or not (found := _ADD_COLUMN.match(altered[1])):
        return
    name, rest = f"{altered[0]}.{found[1]}", found[2].upper()
    if _EACH_ROW.search(found[2]):
        yield REWRITE, f"{name} has a value of its own for each row: the table is written anew under a lock"
    elif "NOT NULL" in rest and "DEFAULT" not in rest:
        yield NOT_NULL, f"{name} needs a server_default: rows that are there have no value, and old code writes none"


def _type(look: _Look) -> Iterator[Broken]:
    if not (altered := look.altered()) or not (found := _TYPE.match(altered[1])):
        return
    name = f"{altered[0]}.{found[1]}"
    yield REWRITE, f"the type of {name} changes: the table may be written anew under a lock that stops even readers"
    if (altered[0], found[1]) not in look.widened:
        yield DESTRUCTIVE, f"{name} may lose values by its new type: {_PARAGRAPH}"


def _set_not_null(look: _Look) -> Iterator[Broken]:
    if (altered := look.altered()) and (found := _SET_NOT_NULL.match(altered[1])):
        first = f"CHECK ({found[1]} IS NOT NULL) NOT VALID"
        yield SET_NOT_NULL, f"all of {altered[0]} is read under a lock: before it add {first}, and validate that"


def _constraint(look: _Look) -> Iterator[Broken]:
    if not (altered := look.altered()):
        return
    if _CHECKED.match(altered[1]):
        yield (
            CONSTRAINT,
            f"all of {altered[0]} is checked under a lock: add it NOT VALID, validate it in a later migration",
        )
    if _UNIQUE.match(altered[1]):
        yield (
            CONSTRAINT,
            f"{altered[0]} is locked until its index is made: make that concurrently, then ADD … USING INDEX",
        )


def _destructive(look: _Look) -> Iterator[Broken]:
    if (found := _DROP_TABLE.match(look.sql)) and found[1] not in look.new:
        yield DESTRUCTIVE, f"the rows of {found[1]} go: {_PARAGRAPH}"
    if (altered := look.altered()) and (column := _DROP_COLUMN.match(altered[1])):
        yield DESTRUCTIVE, f"the values of {altered[0]}.{column[1]} go: {_PARAGRAPH}"
    if (rows := _ALL_ROWS.match(look.sql)) and rows[1] not in look.new:
        yield DESTRUCTIVE, f"the rows of {rows[1]} go: {_PARAGRAPH}"


def _long_transactions(statements: Sequence[str], new: frozenset[str]) -> Iterator[Broken]:
    """A lock that is taken by DDL is held while rows are changed in the same transaction."""
    locked, written = "", ""
    for one in (*statements, "COMMIT"):
        if one.upper() in ("COMMIT", "BEGIN"):
            if locked and written:
                yield LONG, f"{locked} is locked while rows of {written} change: two migrations, or one block of each"
            locked = written = ""
            continue
        table = _ALTER.match(one) or _CREATE_INDEX.match(one)
        if table and table[1] not in new:
            locked = locked or table[1]
        rows = _DATA.match(one)
        if (rows and rows[1] not in new) or _WITH_DATA.match(one):
            written = written or (rows[1] if rows else "a table")


_PARAGRAPH = "say under `Rollback:` in the docstring what brings it back"
_RULES: tuple[Callable[[_Look], Iterator[Broken]], ...] = (
    _index,
    _column,
    _type,
    _set_not_null,
    _constraint,
    _destructive,
)

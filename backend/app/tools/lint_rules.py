"""Our own rules for SQL that changes a PostgreSQL in use. Each tells what is locked, rewritten or lost, and what to do.

A table that the migration itself makes is nobody's yet: nothing there is looked at.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from app.tools.sql_text import parted, statements, within

INDEX, NOT_NULL, REWRITE = "index-without-concurrently", "not-null-without-default", "table-rewrite"
LONG, DESTRUCTIVE, CONSTRAINT, SET_NOT_NULL = "long-transaction", "destructive", "constraint-not-valid", "set-not-null"
UNSEEN = "unseen"
OWN = frozenset({INDEX, NOT_NULL, REWRITE, LONG, DESTRUCTIVE, CONSTRAINT, SET_NOT_NULL, UNSEEN})
ROLLBACK_WORDS = 5  # that a paragraph `Rollback:` has at least
Broken = tuple[str, str]
"""A rule, and what breaks it."""


def _sql(pattern: str) -> re.Pattern[str]:
    """A pattern of SQL, in any letter case; NAME stands for a table's name, with or without its schema."""
    name = r'(?:IF (?:NOT )?EXISTS )?(?:ONLY )?(?:"?\w+"?\.)?"?(\w+)"?'
    return re.compile(pattern.replace("NAME", name), re.IGNORECASE | re.DOTALL)


_NEW = _sql(r"CREATE (?:UNLOGGED |TEMP |TEMPORARY )?TABLE (?!IF NOT EXISTS)NAME")
_CREATE_INDEX = _sql(r"CREATE (?:UNIQUE )?INDEX (?!CONCURRENTLY)(?:.*? )?ON NAME")
_REINDEX = _sql(r"REINDEX (?!.*CONCURRENTLY)(?:\(.*?\) ?)?(?:INDEX|TABLE|SCHEMA|DATABASE|SYSTEM)(?: NAME)?")
_ALTER = _sql(r"ALTER TABLE NAME (.*)")
_TABLE_RULE = r"(?:CONSTRAINT|CHECK|UNIQUE|PRIMARY KEY|FOREIGN KEY|EXCLUDE)\b"
_ADD_COLUMN = _sql(rf'ADD (?!{_TABLE_RULE})(?:COLUMN )?(?:IF NOT EXISTS )?"?(\w+)"? (.*)')
_TYPE = _sql(r'ALTER (?:COLUMN )?"?(\w+)"? (?:SET DATA )?TYPE\b')
_SET_NOT_NULL = _sql(r'ALTER (?:COLUMN )?"?(\w+)"? SET NOT NULL')
_DROP_COLUMN = _sql(r'DROP (?:COLUMN )?(?!CONSTRAINT\b)(?:IF EXISTS )?"?(\w+)"?')
_STORED = _sql(r"SET (?:UNLOGGED|LOGGED|TABLESPACE|ACCESS METHOD)\b")
_CLUSTER = _sql(r"(?:CLUSTER\b|VACUUM (?:\([^)]*\b)?FULL\b)")
_DROP_TABLES = _sql(r"(?:DROP TABLE|TRUNCATE(?: TABLE)?) (.*)")
_NAMED = _sql("NAME")
_DROP_OTHER = _sql(r"DROP (SCHEMA|OWNED BY|DATABASE|MATERIALIZED VIEW) NAME")
_DROP_TRIGGER = _sql(r'DROP TRIGGER (?:IF EXISTS )?"?(\w+)"? ON NAME')
_DELETE = _sql(r"\bDELETE FROM NAME(.*)")
_UPDATE = _sql(r"\bUPDATE NAME(?: \*)?(?: (?:AS )?(?!SET\b)\w+)? SET (.*)")
_WHERE = _sql(r"\bWHERE\b(?!\s*\(?\s*(?:TRUE|1 ?= ?1)\s*\)?\s*(?:RETURNING\b|$))")
_TO_NULL = _sql(r'"?(\w+)"? ?= ?NULL\b')
_CHECKED = _sql(r"ADD (?:CONSTRAINT \S+ )?(?:FOREIGN KEY|CHECK)\b(?!.*\bNOT VALID\b)")
_UNIQUE = _sql(r"ADD (?:CONSTRAINT \S+ )?(?:UNIQUE|PRIMARY KEY|EXCLUDE)\b(?!.*USING INDEX)")
_COLUMN_RULE = _sql(r"\b(?:REFERENCES|UNIQUE|PRIMARY KEY|CHECK ?\()")
_LOCK = _sql(r"LOCK (?:TABLE )?NAME")
_DATA = _sql(r"(?:UPDATE|DELETE FROM|INSERT INTO) NAME")
_WITH_DATA = _sql(r"WITH\b.*\b(?:UPDATE|DELETE FROM|INSERT INTO)\b")
_EACH_ROW = _sql(
    r"\b(?:GENERATED|\w*SERIAL)\b|"
    r"\bDEFAULT\b.*\b(?:random|gen_random_uuid|uuidv7|clock_timestamp|timeofday|nextval)\s*\("
)


@dataclass(frozen=True)
class _Look:
    """One statement, without comments and texts, and what goes around it."""

    sql: str
    new: frozenset[str]
    widened: frozenset[tuple[str, str]]

    def altered(self) -> Iterator[tuple[str, str]]:
        """The table that is altered and each change of it, when it is not new."""
        found = _ALTER.match(self.sql)
        if found is not None and found[1] not in self.new:
            yield from ((found[1], change) for change in parted(found[2]))


def broken(written: Sequence[str], widened: set[tuple[str, str]]) -> Iterator[Broken]:
    """What breaks a rule, in the order of the statements."""
    plain = [one for text in written for one in statements(text)]
    new: frozenset[str] = frozenset()
    for one in plain:
        look = _Look(one, new, frozenset(widened))
        for rule in _RULES:
            yield from rule(look)
        if found := _NEW.match(one):
            new |= {found[1]}
    yield from _long_transactions(plain, new)


def _index(look: _Look) -> Iterator[Broken]:
    found = _CREATE_INDEX.match(look.sql)
    if found and found[1] not in look.new:
        yield INDEX, f"writers of {found[1]} wait until the index is made: app.tools.online.create_index"
    if found := _REINDEX.match(look.sql):
        yield INDEX, f"writers of {found[1] or 'all'} wait until the index is made: REINDEX … CONCURRENTLY"


def _column(look: _Look) -> Iterator[Broken]:
    for table, change in look.altered():
        if not (found := _ADD_COLUMN.match(change)):
            continue
        name, rest = f"{table}.{found[1]}", found[2].upper()
        if _EACH_ROW.search(rest):
            yield REWRITE, f"{name} has a value of its own for each row: the table is written anew under a lock"
        elif "NOT NULL" in rest and "DEFAULT" not in rest:
            yield NOT_NULL, f"{name} needs a server_default: rows that are there have no value, old code writes none"
        if _COLUMN_RULE.search(rest):
            yield CONSTRAINT, f"{table} is locked while the rule of {name} is checked: add it apart, after the column"


def _type(look: _Look) -> Iterator[Broken]:
    for table, change in look.altered():
        if not (found := _TYPE.match(change)):
            continue
        name = f"{table}.{found[1]}"
        yield REWRITE, f"the type of {name} changes: the table may be written anew under a lock that stops even readers"
        if (table, found[1]) not in look.widened:
            yield DESTRUCTIVE, f"{name} may lose values by its new type: {_PARAGRAPH}"


def _rewrite(look: _Look) -> Iterator[Broken]:
    if _CLUSTER.match(look.sql):
        yield REWRITE, f"{look.sql} writes what it names anew under a lock that stops even readers: not in a migration"
    for table, change in look.altered():
        if _STORED.match(change):
            yield REWRITE, f"{change} writes {table} anew under a lock that stops even readers"


def _set_not_null(look: _Look) -> Iterator[Broken]:
    for table, change in look.altered():
        if found := _SET_NOT_NULL.match(change):
            first = f"CHECK ({found[1]} IS NOT NULL) NOT VALID"
            yield SET_NOT_NULL, f"all of {table} is read under a lock: before it add {first}, and validate that"


def _constraint(look: _Look) -> Iterator[Broken]:
    for table, change in look.altered():
        if _CHECKED.match(change):
            yield (
                CONSTRAINT,
                f"all of {table} is checked under a lock: add it NOT VALID, validate it in a later migration",
            )
        if _UNIQUE.match(change):
            yield (
                CONSTRAINT,
                f"{table} is locked until its index is made: make that concurrently, then ADD … USING INDEX",
            )


def _destructive(look: _Look) -> Iterator[Broken]:
    for what in _lost(look):
        yield DESTRUCTIVE, f"{what}: {_PARAGRAPH}"


def _lost(look: _Look) -> Iterator[str]:
    if dropped := _DROP_TABLES.match(look.sql):
        names = [found[1] for one in parted(dropped[1]) if (found := _NAMED.match(one))]
        yield from (f"the rows of {name} go" for name in names if name not in look.new)
    if other := _DROP_OTHER.match(look.sql):
        yield f"what {other[1].lower()} {other[2]} has goes"
    if trigger := _DROP_TRIGGER.match(look.sql):
        yield f"rows of {trigger[2]} are written without what its trigger {trigger[1]} did"
    for table, change in look.altered():
        if column := _DROP_COLUMN.match(change):
            yield f"the values of {table}.{column[1]} go"
    for rows in _DELETE.finditer(look.sql):
        if rows[1] not in look.new and not _WHERE.search(within(rows[2])):
            yield f"the rows of {rows[1]} go"
    for rows in _UPDATE.finditer(look.sql):
        if rows[1] not in look.new and not _WHERE.search(change := within(rows[2])):
            for found in filter(None, map(_TO_NULL.match, parted(change))):
                yield f"the values of {rows[1]}.{found[1]} go"


def _unseen(look: _Look) -> Iterator[Broken]:
    if look.sql.upper().startswith("DO "):
        yield UNSEEN, "what a DO block does is not looked at: write statements, or look yourself and say so"


def _long_transactions(plain: Sequence[str], new: frozenset[str]) -> Iterator[Broken]:
    """A lock that is taken by DDL is held while rows are changed in the same transaction."""
    locked, written = "", ""
    for one in (*plain, "COMMIT"):
        if one.upper() in ("COMMIT", "BEGIN"):
            if locked and written:
                yield LONG, f"{locked} is locked while rows of {written} change: two migrations, or one block of each"
            locked = written = ""
            continue
        table = next((found for kind in _LOCKING if (found := kind.match(one))), None)
        if table and table[1] not in new:
            locked = locked or table[1]
        rows = _DATA.match(one)
        if (rows and rows[1] not in new) or _WITH_DATA.match(one):
            written = written or (rows[1] if rows else "a table")


_LOCKING = (
    _ALTER,
    _CREATE_INDEX,
    _LOCK,
    _sql(r"(?:DROP|CREATE)[\w ]* TRIGGER .*? ON NAME"),
)
_PARAGRAPH = f"say under `Rollback:` in the docstring, in {ROLLBACK_WORDS} words or more, what brings it back"
_RULES: tuple[Callable[[_Look], Iterator[Broken]], ...] = (
    _index,
    _column,
    _type,
    _rewrite,
    _set_not_null,
    _constraint,
    _destructive,
    _unseen,
)

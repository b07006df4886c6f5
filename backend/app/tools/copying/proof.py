"""Whether tables of two engines have the same rows, which each of them writes in its own way."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from app.tools.copying.lines import NULL, Lines, plain
from app.tools.digest import Digest

_NULL = NULL.encode()


@dataclass
class Proof(Digest):
    """What a table's rows come to. Equal for equal rows, whatever their order and the engine that says them."""

    lines: Lines = field(kw_only=True)
    size: int = 0
    """Bytes of its lines."""

    def add(self, lines: Iterable[bytes]) -> None:
        """Count some lines."""
        said = list(lines)
        self.size += sum(map(len, said)) + len(said)
        hard = [_SAID[kind] for kind in self.lines.hard]
        if len(hard) == 1:
            super().add(_with_one(line, hard[0]) for line in said)
        else:
            super().add((_with_hard(line, hard) for line in said) if hard else said)


def _with_one(line: bytes, say: Callable[[bytes], bytes]) -> bytes:
    first, tab, last = line.rpartition(b"\t")
    said = say(last)
    return line if said == last else first + tab + said


def _with_hard(line: bytes, hard: list[Callable[[bytes], bytes]]) -> bytes:
    first, *last = line.rsplit(b"\t", len(hard))
    said = [say(one) for say, one in zip(hard, last, strict=True)]
    return line if said == last else b"\t".join([first, *said])


@lru_cache(maxsize=65_536)
def _json_said(raw: bytes) -> bytes:
    """A JSON value in one form: no order of keys, and a number by its value, as PostgreSQL's `jsonb` keeps it."""
    if raw == _NULL:
        return raw
    return _said(json.loads(plain(raw.decode()), parse_float=Decimal, parse_int=Decimal)).encode()


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{_said(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_said, value)) + "]"
    if isinstance(value, Decimal):
        sign, digits, exponent = value.as_tuple()
        known = "".join(map(str, digits)).lstrip("0")
        bare = known.rstrip("0")
        moved = int(exponent) + len(known) - len(bare)
        return f"{'-' if sign and bare else ''}{bare or 0}e{moved if bare else 0}"
    return json.dumps(value)


@lru_cache(maxsize=65_536)
def _float_said(raw: bytes) -> bytes:
    return raw if raw == _NULL else repr(float(raw) + 0.0).encode()


@lru_cache(maxsize=65_536)
def _numeric_said(raw: bytes) -> bytes:
    return raw if raw == _NULL else _said(Decimal(raw.decode())).encode()


_SAID: dict[type[Any], Callable[[bytes], bytes]] = {
    sa.JSON: _json_said,
    sa.Float: _float_said,
    sa.Numeric: _numeric_said,
}

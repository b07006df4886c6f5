"""Stable fakes in place of what is about persons. The same value under the same SECRET_KEY is the same fake, anywhere.

Who has that SECRET_KEY can try whether a fake is that of a value that they guess.
"""

import json
import re
from base64 import b32encode
from collections.abc import Callable, Iterable
from decimal import Decimal
from functools import cached_property, lru_cache, partial
from hashlib import blake2b, shake_256
from ipaddress import IPv6Address
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import sqlalchemy as sa
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlmodel import AutoString

from app.core.masking import LEFT_OUT, MASK, Mask
from app.core.secrets import derive_key
from app.tools.copying.lines import NULL, Lines, escaped, plain

_PART = r"[^\s@＠<>(),;:\"'\\/?&=\[\]#|]"
_AT = r"(?:@|＠|%(?:25)*40|&#64;|&commat;|\\u0040)"
_ADDRESS = re.compile(rf"""(?:"[^"\s@]+"|{_PART}+?){_AT}(?:\[[^\]\s]+\]|{_PART}+)(?:{_AT}{_PART}+)*""")
_MAYBE = re.compile(_AT)
_FIRST = "Ada Alan Anita Barbara Carol Donald Edsger Frances Grace Hedy Jean Katherine Margaret Niklaus Radia Sophie"
_LAST = "Ash Beech Birch Brook Dale Fern Field Glen Hazel Heath Lake Maple Reed Rowan Stone Vale"


class Masks:
    """What stands in place of what, for a table's lines."""

    def __init__(self, table: Lines) -> None:
        self._table = table
        self.is_left_out = table.table.info.get(MASK) == LEFT_OUT["info"][MASK]
        """Whether a masked copy has none of its rows."""

    @cached_property
    def declared(self) -> dict[str, Mask]:
        """The columns that are masked whole."""
        return {one.name: one.info[MASK] for one in self._table.columns if MASK in one.info}

    def filled(self, counts: dict[str, int]) -> dict[str, int]:
        """How many values the columns of a masked copy have, where the source has `counts`."""
        gone = {name for name, mask in self.declared.items() if mask is Mask.nothing}
        return {name: 0 if self.is_left_out or name in gone else number for name, number in counts.items()}

    @cached_property
    def _fakes(self) -> list[tuple[int, Callable[[str], str]]]:
        return [(at, _of(one)) for at, one in enumerate(self._table.columns) if MASK in one.info or _is_prose(one)]

    def put(self, lines: Iterable[bytes]) -> list[bytes]:
        """The lines with fakes."""
        return [self._line(line.decode()).encode() for line in lines] if self._fakes else list(lines)

    def _line(self, line: str) -> str:
        fields = line.split("\t")
        for at, fake in self._fakes:
            if fields[at] != NULL:
                fields[at] = fake(fields[at])
        return "\t".join(fields)


def password() -> str:
    """That of every account of a masked copy, under this SECRET_KEY."""
    return b32encode(_digest("password", "", 15)).decode().lower()


def _is_prose(column: sa.Column[object]) -> bool:
    return isinstance(column.type, (AutoString, sa.String, sa.JSON))


def _of(column: sa.Column[object]) -> Callable[[str], str]:
    """What makes a field of this column a fake: text as it stands in a line, to the same."""
    mask = column.info.get(MASK)
    if mask is None:
        return (
            _in_document
            if isinstance(column.type, sa.JSON)
            else partial(_in_text, getattr(column.type, "length", None))
        )
    if mask == Mask.token and isinstance(column.type, sa.LargeBinary):
        return _bytes
    return _FAKES[mask]


def _in_text(most: int | None, field: str) -> str:
    """A text with a fake in place of each address; no longer than its column."""
    return escaped(_replaced(plain(field))[:most]) if _MAYBE.search(field) else field


def _in_document(field: str) -> str:
    """JSON with a fake in place of each address, in keys and in values."""
    text = plain(field)
    if not _MAYBE.search(text) and r"\u" not in text:
        return field
    return escaped(_written(json.loads(text, parse_float=Decimal)))


def _written(value: Any) -> str:
    if isinstance(value, dict):
        fakes: dict[str, Any] = {}
        for key, one in value.items():
            fake = name = _replaced(key)
            while name in fakes:  # two addresses that differ by case alone
                name += "+"
            fakes[name or fake] = one
        return "{" + ", ".join(f"{json.dumps(key)}: {_written(one)}" for key, one in fakes.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_written, value)) + "]"
    if isinstance(value, str):
        return json.dumps(_replaced(value))
    return str(value) if isinstance(value, Decimal) else json.dumps(value)


def _replaced(text: str) -> str:
    return _ADDRESS.sub(_fake_of, text)


def _fake_of(found: re.Match[str]) -> str:
    address = found[0].rstrip(".!")
    meant = unquote(unquote(address)).replace("＠", "@").replace("&#64;", "@").replace("&commat;", "@")
    return _email(meant.replace("\\u0040", "@")) + found[0][len(address) :]


def _email(field: str) -> str:
    return f"{_digest('email', field.lower(), 10).hex()}@masked.example.com"


def _name(field: str) -> str:
    first, last = (chosen % 16 for chosen in _digest("name", field, 2))
    return f"{_FIRST.split()[first]} {_LAST.split()[last]}" if field else field


def _token(field: str) -> str:
    return _stretched(field, (len(field) + 1) // 2).hex()[: len(field)]


def _bytes(field: str) -> str:
    number = len(field.removeprefix(r"\\x")) // 2
    return rf"\\x{_stretched(field, number).hex()}"


def _id(field: str) -> str:
    return UUID(bytes=_digest("id", field, 16), version=4).hex


@lru_cache(maxsize=1)
def _password(_: str) -> str:
    hasher = Argon2Hasher(memory_cost=19_456, time_cost=2, parallelism=1)
    return hasher.hash(password(), salt=_digest("salt", "", 16))


def _ip(field: str) -> str:
    return str(IPv6Address(b"\xfd" + _digest("ip", field, 15)))


def _network(field: str) -> str:
    prefix = b"\xfd" + _digest("network", field, 7)
    return f"{IPv6Address(prefix + bytes(8))}/64"


def _digest(what: str, value: str, size: int) -> bytes:
    return blake2b(value.encode(), digest_size=size, key=derive_key("mask"), person=what.encode()).digest()


def _stretched(value: str, size: int) -> bytes:
    return shake_256(derive_key("mask") + value.encode()).digest(size)


_FAKES: dict[Mask, Callable[[str], str]] = {
    Mask.email: _email,
    Mask.name: _name,
    Mask.password: _password,
    Mask.token: _token,
    Mask.id: _id,
    Mask.ip: _ip,
    Mask.network: _network,
    Mask.nothing: lambda _: NULL,
}

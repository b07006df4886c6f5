"""The last stage of every log line: no secret, token or email address leaves, whatever was logged."""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any
from uuid import UUID

REDACTED = "[redacted]"
MAX_TEXT = 16_000  # characters of one value; a longer one is cut, so that a line costs no more than milliseconds
MAX_DEPTH = 6

_NAMES_OF_SECRETS = (
    "pass(?:word|wd|phrase|code)|pwd|token|secret|authorization|bearer|cookie|e-?mail|credential"
    "|(?:api|private|signing|secret)[_-]?key|otp|jwt"
)
_SECRET_KEY = re.compile(_NAMES_OF_SECRETS, re.IGNORECASE)
_WORD = re.compile(r"[^\s\"'<>()\[\]{},;=]+")

_PLAIN = frozenset({bool, int, float, type(None)})
Clean = str | int | float | bool | dict[str, Any] | list[Any] | None


def _hide_address(word: re.Match[str]) -> str:
    text = word.group()
    at = text.find("@") if "@" in text else text.find("%40")
    return REDACTED if at > 0 else text


Replacement = str | Callable[[re.Match[str]], str]
# What makes a look worth while, the pattern, what stands in its place. Each pattern reads a text once, whatever it is.
_PATTERNS: tuple[tuple[tuple[str, ...], re.Pattern[str], Replacement], ...] = (
    (("input_value=",), re.compile(r"input_value=.*?(?=, input_type=|$)", re.DOTALL), f"input_value={REDACTED}"),
    (("://",), re.compile(r"(?<=://)[^\s/?#\"'<>]+@"), f"{REDACTED}@"),
    (("?",), re.compile(r"(?<=[\w/.\]])\?[^\s\"'<>]+"), f"?{REDACTED}"),
    (("eyJ",), re.compile(r"eyJ[\w-]{5,}(?:\.[\w-]*)*"), REDACTED),
    (("$argon2",), re.compile(r"\$argon2[\w$,=+/.-]+"), REDACTED),
    (("nf",), re.compile(r"(?<![A-Za-z0-9])nf[a-z]_[\w+/=.-]+"), REDACTED),
    (("Bearer ", "bearer ", "Basic ", "basic "), re.compile(r"(?i)\b(bearer|basic) +[\w.~+/=-]+"), rf"\1 {REDACTED}"),
    (
        ("ookie", "uthorization", "OOKIE", "UTHORIZATION"),
        re.compile(r"(?i)\b((?:cookie|authorization)\s*[:=]\s*+)[^\r\n\"']+"),
        rf"\1{REDACTED}",
    ),
    (("@", "%40"), _WORD, _hide_address),
)
# `password=…`, `'token': '…'`, `Cookie: …` in running text, such as a traceback.
_NAMED = re.compile(
    rf"""(?i)((?:{_NAMES_OF_SECRETS}|['"]input)[\w-]*["']?\s*[=:]\s*+)(?!\[redacted)("[^"]*"|'[^']*'|[^\s,;&)\]}}]+)"""
)
_SUSPECT = re.compile(r"[@%?$=:]|eyJ|nf[a-z]_|[Bb]earer |[Bb]asic ")
"""One of these is in every text that a pattern changes; most texts have none and are let pass at once."""

_HARMLESS = re.compile(r"[\w/{}.-]{0,200}+").fullmatch
"""Nothing but these: a word, an id or a route, in which no pattern finds anything unless it has `eyJ` or `nf`."""


def clean_text(text: str) -> str:
    """`text` without what looks like a secret."""
    if _HARMLESS(text) and "eyJ" not in text and "nf" not in text:
        return text
    if len(text) > MAX_TEXT:
        text = text[:MAX_TEXT] + "…"
    if not _SUSPECT.search(text):
        return text
    for marks, pattern, replacement in _PATTERNS:
        if any(mark in text for mark in marks):
            text = pattern.sub(replacement, text)
    if ("=" in text or ":" in text) and _SECRET_KEY.search(text):
        text = _NAMED.sub(rf"\1{REDACTED}", text)
    return text


@lru_cache(maxsize=1024)
def _clean_key(key: str) -> tuple[str, bool]:
    """The key as it is logged, and whether its value is a secret by name."""
    return clean_text(key), _SECRET_KEY.search(key) is not None


def clean(value: Any, depth: int = 0) -> Clean:
    """`value` as plain JSON values without secrets. What is no plain value becomes text, and is cleaned as text."""
    kind = type(value)
    if kind is str:
        return clean_text(value)
    if kind in _PLAIN:
        return value  # type: ignore[no-any-return]  # one of the four plain kinds
    if kind is UUID:
        return str(value)
    if depth >= MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        return dict(_clean_item(name, item, depth + 1) for name, item in value.items())
    if isinstance(value, (list, tuple, set, frozenset)):
        return [clean(item, depth + 1) for item in value]
    if isinstance(value, bytes):
        return clean_text(value.decode("utf-8", "backslashreplace"))
    return clean_text(value if isinstance(value, str) else repr(value))


def _clean_item(name: Any, value: Any, depth: int) -> tuple[str, Clean]:
    key, secret = _clean_key(name if type(name) is str else str(name))
    return key, REDACTED if secret and value is not None and type(value) is not bool else clean(value, depth)


def redact(_logger: Any, _method: str, event: Any) -> dict[str, Any]:
    """A structlog processor: the last one before the line is written."""
    cleaned: dict[str, Any] = {}
    for key, value in event.items():
        name, secret = _clean_key(key)
        if type(value) is str and not secret:
            cleaned[name] = clean_text(value)
        else:
            cleaned.update([_clean_item(key, value, 0)])
    return cleaned

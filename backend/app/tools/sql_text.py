"""SQL taken apart as far as the rules for migrations need it: statements without comments and without texts."""

import re
from collections.abc import Iterator

_TOKEN = re.compile(
    r"(?P<text>\b[eE]'(?:[^'\\]|''|\\.)*'|'(?:[^']|'')*')|"
    r'(?P<name>"(?:[^"]|"")*")|'
    r"(?P<line>--[^\n]*)|"
    r"(?P<dollars>\$(?P<tag>(?:[A-Za-z_]\w*)?)\$.*?\$(?P=tag)\$)|"
    r"(?P<block>/\*)|"
    r"(?P<end>;)",
    re.DOTALL,
)
_BLOCK = re.compile(r"/\*|\*/")


def statements(sql: str) -> Iterator[str]:
    """Each statement on one line. A text becomes '', what stands between dollars $$, a comment a space."""
    parts: list[str] = []
    at = 0
    while found := _TOKEN.search(sql, at):
        parts.append(sql[at : found.start()])
        at = found.end()
        if found["end"]:
            yield from _whole(parts)
            parts = []
        elif found["block"]:
            at = _behind(sql, at)
            parts.append(" ")
        else:
            parts.append("''" if found["text"] else found["name"] or ("$$" if found["dollars"] else " "))
    yield from _whole([*parts, sql[at:]])


def parted(text: str) -> list[str]:
    """What stands between commas that are in no parentheses."""
    parts, depth = [""], 0
    for sign in text:
        depth += (sign == "(") - (sign == ")")
        if sign == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts]


def within(text: str) -> str:
    """`text` up to the parenthesis that closes what it stands in."""
    depth = 0
    for place, sign in enumerate(text):
        depth += (sign == "(") - (sign == ")")
        if depth < 0:
            return text[:place]
    return text


def _whole(parts: list[str]) -> Iterator[str]:
    if line := " ".join("".join(parts).split()):
        yield line


def _behind(sql: str, at: int) -> int:
    """Where the comment ends whose content begins at `at`: PostgreSQL has comments within comments."""
    depth = 1
    while depth and (found := _BLOCK.search(sql, at)):
        depth += 1 if found[0] == "/*" else -1
        at = found.end()
    return len(sql) if depth else at

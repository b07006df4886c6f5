"""`docs/security.md`: each point of the standard stands in it once, with a state, and what it names exists."""

import ast
import re
from functools import cache

from app.core.config import Settings
from app.core.permissions import Permission, Role
from tests.services import BACKEND

ROOT = BACKEND.parent
PAGE = (ROOT / "docs" / "security.md").read_text()

SECTIONS = {
    "2.1": "1 2 3",
    "2.2": "1 2 3",
    "2.3": "1 2 3 4",
    "2.4": "1",
    "6.1": "1 2 3",
    "6.2": "1 2 3 4 5 6 7 8 9 10 11 12",
    "6.3": "1 2 3 4 8",
    "6.4": "1 2 3 4",
    "6.5": "1 2 3 4 5",
    "6.6": "1 2 3",
    "6.8": "1 2 3 4",
    "7.1": "1 2 3",
    "7.2": "1 2 3 4",
    "7.3": "1 2",
    "7.4": "1 2 3 4 5",
    "7.5": "1 2",
    "7.6": "1 2",
    "8.1": "1 2",
    "8.2": "1 2 3",
    "8.3": "1 2",
    "8.4": "1",
    "9.1": "1 2 3",
    "9.2": "1 2 3 4",
    "10.1": "1",
    "10.3": "1 2 3 4",
    "10.4": "1 2 3 4 5 6 7 8 9 10 11",
    "13.1": "1",
    "13.2": "1 2 3 4 5",
    "13.3": "1 2",
    "13.4": "1 2 3 4 5",
    "16.1": "1",
    "16.2": "1 2 3 4 5",
    "16.3": "1 2 3 4",
    "16.4": "1 2 3",
    "16.5": "1 2 3",
}
"""ASVS 5.0.0: levels 1 and 2 of these chapters (of V10: the token endpoint), and 6.3.8 and 8.3.2 of level 3."""
ASKED = {f"{section}.{number}" for section, numbers in SECTIONS.items() for number in numbers.split()}

ROWS = re.findall(r"^\| (\d+\.\d+\.\d+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE)
TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))
PATHS = sorted(
    set(re.findall(r"`((?:app|deploy|docs|backend|tests)/[\w./-]+|docker-compose[\w.]+|\.env\.example)`", PAGE))
)
LINKS = set(re.findall(r"\]\(([^)]+)\)", PAGE))


@cache
def functions(file: str) -> set[str]:
    tree = ast.parse((BACKEND / file).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}


def anchors() -> set[str]:
    """What a heading is linked by."""
    titles = re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)
    return {"#" + re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_point_that_is_asked_for_stands_in_it_once() -> None:
    assert len(ROWS) == len(re.findall(r"^\| \d+\.\d+\.\d+ ", PAGE, re.MULTILINE)), "a row has another shape"
    ids = [row[0] for row in ROWS]
    assert len(ids) == len(set(ids))
    assert set(ids) >= ASKED


def test_every_point_has_a_state_and_says_where_or_why() -> None:
    named = re.compile(r"`(tests|app|deploy|docker-compose|backend)\b|\]\(#")
    assert {state for _, _, state, _ in ROWS} <= {"held", "not applicable", "open"}
    assert [point for point, _, state, where in ROWS if state == "held" and not named.search(where)] == []
    assert [point for point, _, state, why in ROWS if state != "held" and len(why) < 10] == []


def test_what_it_names_exists() -> None:
    assert len(TESTS) > 80
    assert [f"{file}::{name}" for file, name in TESTS if name not in functions(file)] == []
    assert [path for path in PATHS if not ((BACKEND / path).exists() or (ROOT / path).exists())] == []


def test_every_name_on_it_stands_in_the_code() -> None:
    """Log events, settings, constants, codes, tables: what was renamed is told."""
    code = "".join(file.read_text() for file in (BACKEND / "app").rglob("*.py"))
    code += (ROOT / ".env.example").read_text() + (ROOT / "docker-compose.prod.yml").read_text()
    names = set(re.findall(r"`([A-Za-z]+_\w+|[A-Z]{4,})\b[^`]*`", PAGE))
    assert len(names) > 50
    assert [name for name in sorted(names) if not re.search(rf"\b{name}\b", code)] == []


def test_its_links_lead_somewhere() -> None:
    inside = {link for link in LINKS if link.startswith("#")}
    assert inside - anchors() == set()
    assert [link for link in LINKS - inside if not (ROOT / "docs" / link).exists()] == []


def test_every_permission_role_and_limit_is_explained() -> None:
    words = [*Permission, *Role, *(name.upper() for name in Settings.model_fields if name.startswith("rate_limit_"))]
    told_elsewhere = {"RATE_LIMIT_ENABLED", "RATE_LIMIT_PROCESSES"}
    assert [word for word in words if f"`{word}`" not in PAGE and word not in told_elsewhere] == []

"""`make audit-deps`: whether the package index knows an advisory for what a lock file pins.

It asks the index that pip uses for each pinned version, as pip-audit does, by its JSON interface. Where that has no
page for the version, the project's own page is asked, whose advisories are those of its newest version.

Exit codes: 0 every version was judged and none has an advisory; 1 one has; 3 none is known to have one, but some could
not be judged, each of which is named with the reason: nothing passes because nobody answered. Ask elsewhere about
those, or let a CI that has no better index take 3 for a warning. `make` says `Error 1` or `Error 3`, and ends with 2.
"""

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)
TIMEOUT = 30  # seconds for one answer
AT_ONCE = 8
CLEAN, FOUND, NOT_JUDGED = 0, 1, 3  # 2 is Python's own, for wrong use


def index() -> str:
    """Where the index that pip uses has its JSON."""
    url = os.environ.get("PIP_INDEX_URL", "")
    if not url:
        asked = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
        url = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    if not url:
        from pip._internal.models.index import PyPI

        url = PyPI.simple_url
    return re.sub(r"/simple/?$", "/pypi", url)


def page(path: str) -> dict | None:
    try:
        with urllib.request.urlopen(f"{INDEX}/{path}/json", timeout=TIMEOUT) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise


class NotJudged(Exception):
    """Why the index could not say whether a version has advisories."""


def judge(pin: tuple[str, str]) -> list[str] | NotJudged:
    """The advisories of a pinned version, or why they are not known."""
    name, version = pin
    try:
        found = page(f"{name}/{version}") or page(name)
        if not found:
            return NotJudged("the index has no page of it")
        told, known = found["info"]["version"], found.get("vulnerabilities")
    except (OSError, ValueError, KeyError, TypeError) as error:
        return NotJudged(f"no answer to read: {error!r}")
    if told != version:
        return NotJudged(f"the index tells of {told} alone")
    if not isinstance(known, list):
        return NotJudged("the index tells no advisories")
    alive = (one for one in known if not one.get("withdrawn"))
    return [f"{one['id']} (mended in {', '.join(one['fixed_in']) or 'none yet'})" for one in alive]


def main(files: list[str]) -> int:
    pins = sorted({pin for file in files for pin in PIN.findall(Path(file).read_text())})
    with ThreadPoolExecutor(AT_ONCE) as threads:
        judged = list(zip(pins, threads.map(judge, pins), strict=True))
    bad = unknown = 0
    for (name, version), verdict in judged:
        if isinstance(verdict, NotJudged):
            unknown += 1
            print(f"not judged: {name} {version}: {verdict}")
            continue
        bad += len(verdict)
        for advisory in verdict:
            print(f"{name} {version}: {advisory}")
    print(f"{len(pins)} pinned, {len(pins) - unknown} judged, {bad} advisories")
    if bad:
        return FOUND
    return NOT_JUDGED if unknown or not pins else CLEAN


if __name__ == "__main__":
    INDEX = index()
    sys.exit(main(sys.argv[1:]))

"""`make audit-deps`: whether the package index knows an advisory for what a lock file pins.

It asks the index that pip uses for each pinned version, as pip-audit does, by its JSON interface. Where that has no
page for the version, the project's own page is asked, whose advisories are those of its newest version. Exit code 1:
an advisory, or a version that could not be judged; nothing passes because nobody answered.
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


def judge(pin: tuple[str, str]) -> tuple[str, list[str] | None]:
    """The package, and the advisories of its pinned version; None when the index cannot say."""
    name, version = pin
    try:
        found = page(f"{name}/{version}") or page(name)
    except (OSError, ValueError):
        found = None
    if not found or found["info"]["version"] != version or not isinstance(found.get("vulnerabilities"), list):
        return f"{name} {version}", None
    known = (one for one in found["vulnerabilities"] if not one.get("withdrawn"))
    return f"{name} {version}", [f"{one['id']} (mended in {', '.join(one['fixed_in']) or 'none yet'})" for one in known]


def main(files: list[str]) -> int:
    pins = sorted({pin for file in files for pin in PIN.findall(Path(file).read_text())})
    with ThreadPoolExecutor(AT_ONCE) as threads:
        judged = list(threads.map(judge, pins))
    unknown = [package for package, advisories in judged if advisories is None]
    bad = [f"{package}: {advisory}" for package, advisories in judged for advisory in advisories or ()]
    for line in bad:
        print(line)
    if unknown:
        print("not judged, since the index does not tell of this version:", ", ".join(unknown))
    print(f"{len(pins)} pinned, {len(pins) - len(unknown)} judged, {len(bad)} advisories")
    return 1 if bad or unknown or not pins else 0


if __name__ == "__main__":
    INDEX = index()
    sys.exit(main(sys.argv[1:]))

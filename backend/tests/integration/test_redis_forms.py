"""The three forms of a Redis URL, each against real servers: one, a Sentinel that knows the one, and a Cluster.

The one is what production runs, with the rights that it gives there.
"""

import asyncio
import re
import secrets
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import yaml
from httpx2 import AsyncClient
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, RedisError

from app.core import redis as ours
from app.tools import migrate
from tests.binaries import redis_binary
from tests.databases import empty_database
from tests.flows import Account
from tests.inbox import Inbox
from tests.processes import end, free_port, launch
from tests.services import BACKEND, Services
from tests.stack import Process, Server
from tests.unit.test_process import python
from tests.waiting import eventually

pytestmark = [pytest.mark.any_database, pytest.mark.any_server]

PASSWORD = secrets.token_urlsafe(16) + "@:/?"  # what a URL must have escaped
ESCAPED = "".join(f"%{byte:02X}" for byte in PASSWORD.encode())
Start = Callable[..., int]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a server of a few lines of configuration on a port of its own."""
    running: list[subprocess.Popen[bytes]] = []

    def run(name: str, *lines: str, arguments: tuple[str, ...] = ()) -> int:
        port, folder = free_port(), tmp_path / name
        folder.mkdir()
        config = [f"port {port}", "bind 127.0.0.1", f"dir {folder}", 'save ""', *lines]
        (folder / "server.conf").write_text("\n".join(config) + "\n")
        running.append(launch([redis_binary(), folder / "server.conf", *arguments], folder / "log"))
        return port

    yield run
    for process in running:
        end(process)


async def answers(url: str) -> Redis:
    """A client of the server at `url`, once that answers."""
    client = Redis.from_url(url, decode_responses=True)

    async def pong() -> bool:
        try:
            return bool(await client.ping())
        except RedisError:
            return False

    await eventually(pong)
    return client


@pytest.fixture
async def sentinel(start: Start) -> str:
    """`host:port,host:port` of a Sentinel and of one that is away; the server behind it has a user and a password."""
    main = start("main", "user default off", f"user app on >{PASSWORD} ~* &* +@all")
    await (await answers(f"redis://app:{ESCAPED}@127.0.0.1:{main}")).aclose()
    lines = (f"monitor mine 127.0.0.1 {main} 1", "auth-user mine app", f"auth-pass mine {PASSWORD}")
    watching = start(
        "sentinel", *(f"sentinel {line}" for line in lines), "requirepass watch-word", arguments=("--sentinel",)
    )
    async with await answers(f"redis://:watch-word@127.0.0.1:{watching}") as client:
        assert (await client.sentinel_get_master_addr_by_name("mine"))[1] == main
    return f"127.0.0.1:{free_port()},127.0.0.1:{watching}"


async def test_sentinel_names_the_server_which_takes_our_user_and_database(sentinel: str) -> None:
    url = f"redis+sentinel://app:{ESCAPED}@{sentinel}/mine/3?sentinel_password=watch-word"
    client = ours.build_client(url)
    try:
        assert await client.set("kept", "yes")
        assert await client.get("kept") == "yes"
        assert (await client.client_info())["db"] == 3
        assert (await client.acl_whoami()) == "app"
    finally:
        await ours.close_client(client)


async def test_a_sentinel_that_does_not_know_the_name_is_redis_that_is_away(sentinel: str) -> None:
    client = ours.build_client(f"redis+sentinel://{sentinel}/?sentinel_password=watch-word")
    with pytest.raises(ours.Unreachable):
        await client.ping()
    await ours.close_client(client)


def test_without_a_redis_it_says_what_to_do(tmp_path: Path) -> None:
    ask = "from app.core.redis import redis_client\ntry: redis_client()\nexcept ConnectionError as error: print(error)"
    told = python(ask, env={"REDIS_URL": "", "DATA_DIR": str(tmp_path)}).stdout
    assert "REDIS_URL is not set" in told
    assert "make dev" in told


async def test_a_cluster_is_found_by_one_of_its_nodes(start: Start) -> None:
    port = start("node", "cluster-enabled yes", f"requirepass {PASSWORD[:20]}")
    url = f"127.0.0.1:{port}"
    async with await answers(f"redis://:{PASSWORD[:20]}@{url}") as node:
        await node.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)

        async def whole() -> bool:
            return "cluster_state:ok" in str(await node.execute_command("CLUSTER", "INFO"))

        await eventually(whole)
    client = ours.build_client(f"redis+cluster://:{PASSWORD[:20]}@{url}")
    try:
        for name in ("one", "two", "three"):  # of three slots
            assert await client.set(name, name)
            assert await client.get(name) == name
    finally:
        await ours.close_client(client)


async def test_the_worker_is_rung_through_sentinel(
    sentinel: str, services: Services, server: Callable[..., Awaitable[Server]], smtp: Inbox
) -> None:
    url = f"redis+sentinel://app:{ESCAPED}@{sentinel}/mine/3?sentinel_password=watch-word"
    await a_mail_arrives(url, services, server, smtp)


async def test_the_account_of_production_does_our_work_and_cannot_harm_the_server(
    start: Start, services: Services, server: Callable[..., Awaitable[Server]], smtp: Inbox
) -> None:
    compose = yaml.safe_load((BACKEND.parent / "docker-compose.prod.yml").read_text())
    (rights,) = re.findall(r"^user .*$", compose["services"]["redis"]["command"][-1], re.MULTILINE)
    port = start("production", rights.replace("$$(cat /run/secrets/redis_password)", "word"))
    url = f"redis://:word@127.0.0.1:{port}/0"
    async with await answers(url) as client:
        for command in ("FLUSHALL", "CONFIG GET *", "CONFIG SET dir /", "KEYS *", "SHUTDOWN", "ACL LIST", "MONITOR"):
            with pytest.raises(NoPermissionError):
                await client.execute_command(*command.split())
    await a_mail_arrives(url, services, server, smtp)


async def a_mail_arrives(
    redis_url: str, services: Services, server: Callable[..., Awaitable[Server]], smtp: Inbox
) -> None:
    """The API, a worker and a scheduler do their work, on a database of their own which no other worker looks at."""
    database = empty_database(services, "redis-forms")
    await asyncio.to_thread(migrate.upgrade, database)
    env = {"DATABASE_URL": database, "REDIS_URL": redis_url, "RATE_LIMIT_ENABLED": "true"}
    api = await server(**env)
    parts = [Process(services, [name], env) for name in ("worker", "scheduler")]
    try:
        async with AsyncClient(base_url=api.url, trust_env=False) as client:
            account = Account(client)
            assert (await account.register()).status_code == 201
            assert await smtp.wait_for(account.email)
    finally:
        codes = [part.stop() for part in parts]
    assert codes == [0, 0]
    assert not [part for part in (api, *parts) if "NOPERM" in part.output() or "NoPermission" in part.output()]

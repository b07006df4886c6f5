"""The bad way of the fault tests: each of its manners, before a server that answers in capitals."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Self

import pytest

from tests.faults.proxy import COMMIT, Proxy
from tests.processes import free_port


class Shouter:
    """Answers each line in capitals, and counts what it was asked."""

    def __init__(self) -> None:
        self.port = free_port()
        self.heard: list[bytes] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                self.heard.append(line)
                writer.write(line.upper())
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


class Caller:
    """A client's connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, line: bytes = b"hello\n") -> bytes:
        """The answer; empty when the connection was ended in order."""
        self._writer.write(line)
        return await self._reader.readline()

    async def is_answered_within(self, seconds: float, line: bytes = b"hello\n") -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self.ask(line) == line.upper()
        except TimeoutError:
            return False

    def hang_up(self) -> None:
        self._writer.close()


@pytest.fixture
async def shouter() -> AsyncIterator[Shouter]:
    async with Shouter() as one:
        yield one


@pytest.fixture
async def way(shouter: Shouter) -> AsyncIterator[Proxy]:
    with Proxy(f"redis://:secret@127.0.0.1:{shouter.port}/3") as proxy:
        yield proxy


@pytest.fixture
async def call(way: Proxy) -> AsyncIterator:
    callers: list[Caller] = []

    async def connect() -> Caller:
        port = int(re.findall(r":(\d+)/", way.url)[0])
        callers.append(Caller(*await asyncio.open_connection("127.0.0.1", port)))
        return callers[-1]

    yield connect
    for caller in callers:
        caller.hang_up()


async def test_it_carries_both_ways_under_a_url_of_its_own(way: Proxy, call, shouter: Shouter) -> None:
    assert re.fullmatch(r"redis://:secret@127\.0\.0\.1:\d+/3", way.url)
    assert str(shouter.port) not in way.url
    assert await (await call()).ask() == b"HELLO\n"


async def test_it_refuses_and_comes_back_at_the_same_place(way: Proxy, call) -> None:
    open_one = await call()
    assert await open_one.ask()
    way.refuse()
    with suppress(ConnectionError):  # it may be told by a reset
        assert await open_one.ask() == b""
    with pytest.raises(ConnectionRefusedError):
        await call()
    way.restore()
    assert await (await call()).ask() == b"HELLO\n"


async def test_a_blackhole_takes_everything_and_gives_nothing(way: Proxy, call, shouter: Shouter) -> None:
    old = await call()
    assert await old.ask()
    way.blackhole()
    new = await call()
    assert not await old.is_answered_within(0.1)
    assert not await new.is_answered_within(0.1)
    assert shouter.heard == [b"hello\n"]


async def test_what_a_blackhole_held_back_arrives_once_it_ends(way: Proxy, call, shouter: Shouter) -> None:
    caller = await call()
    way.blackhole()
    asked = asyncio.create_task(caller.ask())
    done, _ = await asyncio.wait([asked], timeout=0.1)
    assert not done
    way.restore()
    assert await asked == b"HELLO\n"
    assert shouter.heard == [b"hello\n"]


async def test_a_delay_is_waited_each_way(way: Proxy, call) -> None:
    caller = await call()
    way.delay(0.1)
    began = time.perf_counter()
    assert await caller.ask() == b"HELLO\n"
    assert time.perf_counter() - began >= 0.2


async def test_it_resets_a_connection_after_so_many_bytes(way: Proxy, call) -> None:
    caller = await call()
    way.reset_after(8)
    assert await caller.ask() == b"HELLO\n"
    with pytest.raises(ConnectionResetError):
        await caller.ask()
    assert way.cuts == 1
    assert await (await call()).ask() == b"HELLO\n"


async def test_a_request_whose_reply_is_dropped_has_had_its_effect(way: Proxy, call, shouter: Shouter) -> None:
    caller = await call()
    way.drop_reply()
    with pytest.raises(ConnectionResetError):
        await caller.ask(b"do it\n")
    assert (shouter.heard, way.cuts) == ([b"do it\n"], 1)


async def test_a_request_that_is_dropped_has_no_effect(way: Proxy, call, shouter: Shouter) -> None:
    caller = await call()
    way.drop_request()
    with pytest.raises(ConnectionResetError):
        await caller.ask(b"do it\n")
    way.restore()
    assert await (await call()).ask() == b"HELLO\n"
    assert (shouter.heard, way.cuts) == ([b"hello\n"], 1)


async def test_only_the_reply_to_what_is_named_is_dropped(way: Proxy, call, shouter: Shouter) -> None:
    way.drop_reply(re.compile(b"commit"), each=2)
    first, second = await call(), await call()
    assert await first.ask(b"begin\n") == b"BEGIN\n"
    assert await first.ask(b"commit\n") == b"COMMIT\n"
    first._writer.write(b"com")  # it comes in two pieces
    assert await second.ask(b"begin\n") == b"BEGIN\n"
    with pytest.raises(ConnectionResetError):
        await first.ask(b"mit\n")
    assert await second.ask(b"begin\n") == b"BEGIN\n"
    assert way.cuts == 1
    assert shouter.heard.count(b"commit\n") == 2


async def test_a_reply_is_dropped_on_the_connection_that_sent_something_before(way: Proxy, call) -> None:
    way.drop_reply(re.compile(b"commit"), after=re.compile(b"insert"))
    reader, writer = await call(), await call()
    assert await writer.ask(b"insert\n") == b"INSERT\n"
    assert await reader.ask(b"commit\n") == b"COMMIT\n"
    with pytest.raises(ConnectionResetError):
        await writer.ask(b"commit\n")


def test_a_commit_is_known_in_both_protocols_of_postgresql() -> None:
    simple = b"Q\0\0\0\x0cCOMMIT;\0"
    prepared = b"P\0\0\0\x14__asyncpg_stmt_1__\0COMMIT;\0\0\0"
    assert all(COMMIT.search(sent) for sent in (simple, simple.lower(), prepared))
    assert not COMMIT.search(b"Q\0\0\0\x0aBEGIN;\0")
    assert not COMMIT.search(b"B\0\0\0\x20\0\0\0\0\0\0\0\x01\0\0\0\x06COMMIT\0")  # a value, in a text


async def test_of_a_server_that_is_away_a_client_is_told_by_the_end_of_its_connection() -> None:
    with Proxy(f"redis://127.0.0.1:{free_port()}") as way:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(way.url.rpartition(":")[2]))
        assert await reader.read() == b""
        writer.close()

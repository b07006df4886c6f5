import json
import logging
import os
import subprocess
import sys
import time

import pytest
import structlog

from app.core import logging as ours
from app.core.redaction import MAX_TEXT, REDACTED, clean_text, redact
from tests.services import BACKEND

HASH = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2g"
JWT = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIxMjMifQ.c2lnbmF0dXJl-_x"


@pytest.fixture
def lines(capsys):
    """What this process writes from here on, as JSON objects."""
    before = structlog.get_config(), logging.getLogger().handlers[:], sys.excepthook
    ours.set_up("test")

    def read():
        return [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    yield read
    structlog.configure(**before[0])
    logging.getLogger().handlers, sys.excepthook = before[1], before[2]


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("signed with " + JWT, "signed with [redacted]"),
        ("spent nfr_AbC-12_x= twice", "spent [redacted] twice"),
        ("mail token nfm_AbC, api key nfk_AbC", "mail token [redacted], api key [redacted]"),
        (f"stored {HASH} for it", "stored [redacted] for it"),
        ("to ada@example.com, or <Ada.L+x@example.org>", "to [redacted], or <[redacted]>"),
        ("to ada%40example.com", "to [redacted]"),
        ("redis://:pw@localhost:6379/0", "redis://[redacted]@localhost:6379/0"),
        ("postgresql://joe:p@ss@db/x?sslmode=require", "postgresql://[redacted]@db/x?[redacted]"),
        ("GET /account/verify?token=abc HTTP/1.1", "GET /account/verify?[redacted] HTTP/1.1"),
        ("Authorization: Bearer abc.def", "Authorization: [redacted]"),
        ("bearer abc.def", "bearer [redacted]"),
        ("Cookie: a=b; c=d", "Cookie: [redacted]"),
        ("password=hunter2 user=joe", "password=[redacted] user=joe"),
        ("{'new_password': 'hun ter2', 'n': 1}", "{'new_password': [redacted], 'n': 1}"),
        ('{"refresh_token": "abc"}', '{"refresh_token": [redacted]}'),
        ("[type=missing, input_value={'pass': 'x, y'}, input_type=dict]",
         "[type=missing, input_value=[redacted], input_type=dict]"),
        ("Key (email)=(ada@example.com) already exists", "Key (email)=([redacted]) already exists"),
    ],
)  # fmt: skip
def test_what_looks_like_a_secret_is_taken_out_of_a_text(text, cleaned):
    assert clean_text(text) == cleaned
    assert redact(None, "info", {"event": text}) == {"event": cleaned}


@pytest.mark.parametrize("secret", [JWT, HASH, "nfr_AbC-12_x", "nfm_AbC", "ada@example.com"])
def test_what_is_nothing_but_a_secret_is_taken_out_too(secret):
    assert redact(None, "info", {"event": secret, "in": [secret]}) == {"event": REDACTED, "in": [REDACTED]}


@pytest.mark.parametrize("text", ["@router.get('/me')", "a @ b", "user_registered", "what? nothing", "12:30", "nfs"])
def test_other_text_stays_as_it_is(text):
    assert clean_text(text) == text


def test_values_are_hidden_by_the_name_of_their_key_however_deep():
    event = {"a": [{"Set-Cookie": "x"}, {"api_key": "x"}, {"user": {"E-Mail": "x", "id": 7}}], "otp": 123, "ok": True}
    assert redact(None, "info", event) == {
        "a": [{"Set-Cookie": REDACTED}, {"api_key": REDACTED}, {"user": {"E-Mail": REDACTED, "id": 7}}],
        "otp": REDACTED,
        "ok": True,
    }


def test_keys_bytes_and_objects_are_cleaned_too():
    class Thing:
        def __repr__(self):
            return "Thing(ada@example.com)"

    event = {"ada@example.com": b"nfr_AbCdEf", "thing": Thing(), "set": {"ada@example.com"}}
    assert redact(None, "info", event) == {REDACTED: REDACTED, "thing": "Thing([redacted])", "set": [REDACTED]}


@pytest.mark.parametrize("bad", ["a@", "nfr_", "eyJ", "password=", "://", "x?", "Bearer ", "cookie:", "$argon2", "="])
def test_no_text_makes_it_slow(bad):
    began = time.process_time()
    assert len(clean_text(bad * 100_000)) < 10 * MAX_TEXT
    assert time.process_time() - began < 0.5


def test_both_kinds_of_loggers_write_the_same_lines(lines):
    structlog.contextvars.bind_contextvars(request_id="r1")
    structlog.get_logger().info("thing_done", token="abc")
    logging.getLogger("uvicorn.error").warning("GET %s", "/x?token=abc")
    structlog.contextvars.clear_contextvars()
    first, second = lines()
    assert (first["event"], first["level"], first["token"]) == ("thing_done", "info", REDACTED)
    assert (second["event"], second["level"], second["logger"]) == ("GET /x?[redacted]", "warning", "uvicorn.error")
    assert first["request_id"] == second["request_id"] == "r1"
    assert first["process"] == second["process"] == "test"
    assert first["timestamp"].endswith("Z")


FORGED = "x\r\n2026-01-01T00:00:00Z [info] user_deleted\x1b[2J\u202e"


def test_no_text_begins_a_line_of_its_own(lines):
    structlog.get_logger().info("thing_done", name=FORGED, more={FORGED: [FORGED]})
    logging.getLogger("x").warning("GET %s", FORGED)
    assert [line["level"] for line in lines()] == ["info", "warning"]


def test_no_text_begins_a_line_of_its_own_on_a_terminal(lines, capsys, monkeypatch):
    monkeypatch.setattr(type(ours.settings), "logs_json", False)
    ours.set_up("test")
    structlog.get_logger().info("thing_done", name=FORGED, more={FORGED: [FORGED]})
    logging.getLogger("x").warning("GET %s", FORGED)
    try:
        raise ValueError(FORGED)
    except ValueError:
        structlog.get_logger().exception("thing_failed")
    written = capsys.readouterr().err
    assert len(written.partition("Traceback")[0].splitlines()) == 3  # the third's traceback begins below it
    assert "ValueError" in written
    assert not {"\r", "\x1b", "\u202e"} & set(written)


def test_tracebacks_are_cleaned(lines):
    for log in (structlog.get_logger(), logging.getLogger("celery")):
        try:
            raise ValueError(f"password='hunter2' for ada@example.com by {JWT}")
        except ValueError:
            log.exception("thing_failed")
    for line in lines():
        assert "Traceback" in line["exception"]
        assert not any(secret in json.dumps(line) for secret in ("hunter2", "ada@", "eyJ"))


def test_a_lone_surrogate_does_not_lose_the_line(lines):
    structlog.get_logger().info("thing_done", name="\ud800")
    logging.getLogger("x").error("\ud800")
    assert [line["level"] for line in lines()] == ["info", "error"]


def test_what_ends_the_process_is_logged_and_cleaned(lines):
    error = ValueError("password=hunter2")
    sys.excepthook(ValueError, error, None)
    (line,) = lines()
    assert (line["event"], line["level"]) == ("process_failed", "critical")
    assert "hunter2" not in json.dumps(line)


TOGETHER = """
import asyncio, os, sys
import structlog
from app.core import logging
logging.set_up("api", together=True)
log = structlog.get_logger()

async def turn():
    log.info("first")
    if sys.argv[1] == "warns":
        log.warning("second")
        os._exit(9)
    log.info("second")
    if sys.argv[1] == "dies":
        os._exit(9)
    await asyncio.sleep(0)
    log.info("third")

asyncio.run(turn())
log.info("fourth")
"""


@pytest.mark.parametrize(
    ("how", "told"),
    [("ends", ["first", "second", "third", "fourth"]), ("warns", ["first", "second"]), ("dies", [])],
)
def test_lines_that_go_together_keep_their_order_and_no_warning_waits(how: str, told: list[str]) -> None:
    """A process that dies loses the lines of its last turn, unless there was a warning after them."""
    command = [sys.executable, "-c", TOGETHER, how]
    env = {**os.environ, "LOG_FORMAT": "json"}
    done = subprocess.run(command, cwd=BACKEND, env=env, capture_output=True, text=True, timeout=60)
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == told

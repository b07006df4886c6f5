from pathlib import Path

import pytest

from tests.leaks import find_leaks, search, secrets_in

SECRET = "a password of a test"


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('{"event": "user_registered", "email": "ada@example.com"}', "an email address"),
        ("GET /users?q=ada.l%40example.org HTTP/1.1", "an email address"),
        ("password is $argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA", "a password hash"),
        ("Authorization: Bearer eyJ0eXAiOiJhdCtqd3QifQ.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl", "a JSON Web Token"),
        ("refresh nfr_AbCdEfGhIjKlMnOpQrSt", "a refresh token"),
        ("GET /account/verify?token=AbCdEfGhIjKl", "a token in a link"),
        (f"body: {SECRET!r}", "a password or token that a test sent"),
    ],
)
def test_a_planted_secret_is_found(line: str, what: str) -> None:
    leaks = list(find_leaks(["harmless", line, "harmless"], [SECRET]))
    assert [(leak.line, leak.what) for leak in leaks] == [(2, what)]
    assert line not in str(leaks[0])


@pytest.mark.parametrize(
    "line",
    [
        '{"event": "user_registered", "user_id": "0199c2a4-7a3e-7cc2-8a55-8a3c1b1f0d11"}',
        "celery@host ready.",
        "connected to redis://127.0.0.1:6379//",
        "the sender is no-reply@localhost",
    ],
)
def test_a_harmless_line_is_not(line: str) -> None:
    assert not list(find_leaks([line], [SECRET, "short"]))


def test_every_log_file_is_searched(tmp_path: Path) -> None:
    (tmp_path / "worker.log").write_text(f"one\n{SECRET}\n")
    (tmp_path / "serve.log").write_text("to eve@example.com\n")
    assert [str(leak) for leak in search(tmp_path, [SECRET])] == [
        "serve.log:1 says an email address",
        "worker.log:2 says a password or token that a test sent",
    ]


def test_secrets_are_found_in_a_body_however_deep() -> None:
    body = {"email": "e", "password": "p", "more": [{"new_password": "n", "refresh_token": "r"}, 1, None]}
    assert list(secrets_in(body)) == ["p", "n", "r"]

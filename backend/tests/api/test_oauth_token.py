import pytest
from httpx2 import AsyncClient

from tests.flows import PASSWORD, V1, problem, signed_in

TOKEN = f"{V1}/auth/token"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


async def test_the_password_grant_answers_the_same_pair(client: AsyncClient) -> None:
    account = await signed_in(client)
    form = {"grant_type": "password", "username": account.email, "password": PASSWORD, "scope": "", "client_id": "docs"}
    answer = await client.post(TOKEN, data=form)
    assert answer.status_code == 200
    assert set(answer.json()) == set(account.pair)
    assert answer.headers["cache-control"] == "no-store"


async def test_the_refresh_grant_spends_the_token_and_a_replay_ends_the_session(client: AsyncClient) -> None:
    account = await signed_in(client)
    first = account.pair["refresh_token"]
    second = (await client.post(TOKEN, data={"grant_type": "refresh_token", "refresh_token": first})).json()
    assert (await account.refresh(second["refresh_token"])).status_code == 200
    replay = await client.post(TOKEN, data={"grant_type": "refresh_token", "refresh_token": first})
    assert (replay.status_code, replay.json()["error"]) == (400, "invalid_grant")
    assert (await account.me()).status_code == 401


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({}, "invalid_request"),
        ({"grant_type": "password"}, "invalid_request"),
        ({"grant_type": "refresh_token"}, "invalid_request"),
        ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
        ({"grant_type": "password", "username": "nobody@example.com", "password": "x"}, "invalid_grant"),
        ({"grant_type": "password", "username": "no address", "password": "x"}, "invalid_grant"),
        ({"grant_type": "refresh_token", "refresh_token": "nfr_x"}, "invalid_grant"),
        ({"grant_type": "password", "username": "a\0b", "password": "x"}, "invalid_request"),
    ],
)
async def test_errors_are_those_of_rfc_6749(client: AsyncClient, form: dict[str, str], error: str) -> None:
    answer = await client.post(TOKEN, data=form, headers=FORM)
    assert (answer.status_code, answer.json()["error"]) == (400, error)
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "body", [b"grant_type=password&grant_type=password", b"%ff%fe=1", b"\xff\xfe", b"a&b&c", b"=" * 100]
)
async def test_a_malformed_form_is_an_invalid_request(client: AsyncClient, body: bytes) -> None:
    answer = await client.post(TOKEN, content=body, headers=FORM)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_json_is_no_form(client: AsyncClient) -> None:
    assert problem(await client.post(TOKEN, json={"grant_type": "password"})) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "headers",
    [
        {**FORM, "Content-Encoding": "gzip"},
        {**FORM, "Content-Encoding": "identity"},
        {"Content-Type": f"{FORM['Content-Type']}; charset=utf-16"},
        {"Content-Type": f"{FORM['Content-Type']}; charset=iso-8859-1"},
    ],
)
@pytest.mark.parametrize("path", ["token", "revoke"])
async def test_a_form_in_another_encoding_is_not_read(client: AsyncClient, path: str, headers: dict[str, str]) -> None:
    answer = await client.post(f"{V1}/auth/{path}", content=b"grant_type=password&token=x", headers=headers)
    assert problem(answer) == (415, "unsupported_media_type")


async def test_a_form_may_say_that_it_is_utf_8(client: AsyncClient) -> None:
    headers = {"Content-Type": f'{FORM["Content-Type"]}; charset="UTF-8"'}
    answer = await client.post(TOKEN, content=b"grant_type=magic", headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_grant_type")

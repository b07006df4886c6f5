"""What comes in: bodies, hosts, paths, ids. However malformed, a 4xx problem answers it."""

import json

import pytest
from httpx2 import AsyncClient

from tests.flows import V1, problem

LOGIN = f"{V1}/auth/login"
JSON = {"content-type": "application/json"}
GOOD = b'{"email": "nobody@example.com", "password": "plum-otter-42-lantern"}'


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "json_invalid"),
        (b'{"email": NaN}', "json_invalid"),
        (b'{"email": 1e400}', "number_out_of_range"),
        (b'{"email": "\\ud800"}', "json_invalid"),
        (b'{"email": "a\\u0000"}', "nul_character"),
        (GOOD.decode().encode("utf-16"), "json_invalid"),
        (b"\xef\xbb\xbf" + GOOD, "json_invalid"),
        (b'{"email": "a", "email": "b"}', "duplicate_key"),
        (b"[" * 100_000, "json_too_deep"),
        (b"", "missing"),
        (b"null", "model_attributes_type"),
        (b"[]", "model_attributes_type"),
        (b'"x"', "model_attributes_type"),
    ],
)
async def test_a_body_that_is_not_strict_json_is_422(client: AsyncClient, body, code):
    answer = await client.post(LOGIN, content=body, headers=JSON)
    assert problem(answer) == (422, "validation_failed")
    assert [fault["code"] for fault in answer.json()["errors"]] == [code]


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json; charset=utf-16"},
        {"content-type": "application/jsonx"},
        {"content-type": "application/+json"},
        {"content-type": "text/json"},
        {"content-type": "+json"},
        {"content-type": "application/json, text/html"},
        {"content-type": ""},
        {},
        {**JSON, "content-encoding": "gzip"},
        {**JSON, "content-encoding": "identity"},
    ],
)
async def test_a_body_of_another_type_or_encoding_is_415(client: AsyncClient, headers):
    assert problem(await client.post(LOGIN, content=GOOD, headers=headers)) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "Application/JSON",
        'application/json; charset="UTF-8"',
        "application/merge-patch+json",
        "image/svg+json",
    ],
)
async def test_every_kind_of_json_is_read(client: AsyncClient, kind):
    assert problem(await client.post(LOGIN, content=GOOD, headers={"content-type": kind})) == (
        401,
        "invalid_credentials",
    )


async def test_no_body_is_fine_where_it_may_be_left_out(client: AsyncClient):
    assert problem(await client.post(f"{V1}/auth/logout")) == (401, "not_authenticated")
    assert problem(await client.post(f"{V1}/auth/logout", headers=JSON)) == (401, "not_authenticated")


async def test_a_fault_names_its_place_and_does_not_repeat_the_input(client: AsyncClient):
    sent = {"email": "not an address", "password": ["hunter2-hunter2"], "is~ad/min": "hunter3"}
    answer = await client.post(LOGIN, json=sent)
    assert {fault["pointer"]: fault["code"] for fault in answer.json()["errors"]} == {
        "/email": "email_invalid",
        "/password": "string_type",
        "/is~0ad~1min": "extra_forbidden",
    }
    assert "hunter" not in answer.text
    assert "not an address" not in answer.text


async def test_a_body_of_many_faults_gets_a_short_answer(client: AsyncClient):
    answer = await client.post(LOGIN, json={f"{n}" + "x" * 200: 1 for n in range(2000)})
    assert len(answer.json()["errors"]) == 50
    assert len(answer.content) < 20_000


async def test_a_length_over_a_mebibyte_is_413_at_once(client: AsyncClient):
    async def never():
        raise AssertionError("the body was read")
        yield b""

    headers = {**JSON, "content-length": str(2**20 + 1)}
    answer = await client.post(LOGIN, content=never(), headers=headers)
    assert problem(answer) == (413, "payload_too_large")


async def test_a_body_without_length_is_counted_while_it_is_read(client: AsyncClient):
    taken = 0

    async def endless():
        nonlocal taken
        while True:
            taken += 65536
            yield b" " * 65536

    assert problem(await client.post(LOGIN, content=endless(), headers=JSON)) == (413, "payload_too_large")
    assert taken <= 2**20 + 2 * 65536


async def test_a_body_of_just_a_mebibyte_is_read(client: AsyncClient):
    body = GOOD + b" " * (2**20 - len(GOOD))
    assert problem(await client.post(LOGIN, content=body, headers=JSON)) == (401, "invalid_credentials")


@pytest.mark.parametrize("length", ["x", "-1", "1_0", "²", "9" * 5000])
async def test_a_length_that_is_no_number_is_refused(client: AsyncClient, length):
    headers = {**JSON, b"content-length": length.encode()}
    answer = await client.request("POST", LOGIN, content=GOOD, headers=headers)
    assert answer.status_code in (400, 413)


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil", "127.0.0.1@evil", "localhost:port", ""])
async def test_an_unknown_host_is_400(client: AsyncClient, host):
    assert problem(await client.get(f"{V1}/health", headers={"host": host})) == (400, "unknown_host")


async def test_two_hosts_are_400(client: AsyncClient):
    headers = [("host", "localhost"), ("host", "localhost")]
    assert problem(await client.get(f"{V1}/health", headers=headers)) == (400, "unknown_host")


@pytest.mark.parametrize(
    "path", ["/%00", "/nope%00", "/problems/%00", "/%ff%fe", "/%ed%a0%80", "/%", "/%zz", "/a%0d%0ab"]
)
async def test_an_odd_path_is_404(client: AsyncClient, path):
    answer = await client.get(path)
    assert problem(answer) == (404, "not_found")
    assert answer.json()["instance"].isascii()


async def test_a_nul_in_the_query_is_422(client: AsyncClient):
    answer = await client.get(f"{V1}/health?x=%00")
    assert problem(answer) == (422, "validation_failed")
    assert answer.json()["errors"][0]["pointer"] == "/query"


async def test_slashes_do_not_redirect(client: AsyncClient):
    assert problem(await client.get(f"{V1}/health/")) == (404, "not_found")
    assert problem(await client.get(f"/{V1}/health")) == (404, "not_found")


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        (f"{V1}/users/me", "DELETE, GET, PUT"),
        (f"{V1}/auth/login", "POST"),
        (f"{V1}/health", "GET"),
        ("/.well-known/jwks.json", "GET"),
    ],
)
@pytest.mark.parametrize("method", ["PATCH", "OPTIONS", "TRACE", "BREW"])
async def test_another_method_is_405_and_told_all_that_there_are(client: AsyncClient, method, path, methods):
    answer = await client.request(method, path)
    assert problem(answer) == (405, "method_not_allowed")
    assert answer.headers["allow"] == methods


@pytest.mark.parametrize(("given", "kept"), [("Az0._-", True), ("x" * 128, True), ("x" * 129, False), ("a b", False),
                                             ("a,b", False), ("é", False), ("", False)])  # fmt: skip
async def test_a_request_id_is_kept_when_it_is_well_formed(client: AsyncClient, given, kept):
    answer = await client.get("/nope", headers={"x-request-id": given.encode()})
    found = answer.headers["x-request-id"]
    assert (found == given) is kept
    assert found == answer.json()["request_id"]
    assert 1 <= len(found) <= 128


async def test_each_request_gets_an_id_of_its_own(client: AsyncClient):
    assert len({(await client.get(f"{V1}/health")).headers["x-request-id"] for _ in range(5)}) == 5


async def test_a_trace_is_named_in_the_log(client: AsyncClient, capfd):
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    await client.get(f"{V1}/health", headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
    for bad in (f"ff-{trace}-00f067aa0ba902b7-01", f"00-{'0' * 32}-00f067aa0ba902b7-01", "00-x", "\xff"):
        await client.get(f"{V1}/health", headers={"traceparent": bad.encode("latin-1")})
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if "request_finished" in line]
    assert [line.get("trace_id") for line in lines] == [trace, None, None, None, None]


async def test_a_request_is_one_line_without_its_path_query_or_body(client: AsyncClient, capfd):
    answer = await client.get("/problems/email_taken?token=verysecret")
    await client.request("EVILMETHOD", "/verysecret/ada@example.com", content=b"verysecret")
    written = capfd.readouterr().err
    first, second = [json.loads(line) for line in written.splitlines() if "request_finished" in line]
    assert (first["method"], first["route"], first["status"]) == ("GET", "/problems/{code}", 200)
    assert first["request_id"] == answer.headers["x-request-id"]
    assert first["duration_ms"] > 0
    assert (second["method"], second["route"], second["status"]) == ("OTHER", "unmatched", 404)
    assert "verysecret" not in written


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", {}, 401),
        (b"{}", JSON, 401),
        (b"null", JSON, 401),
        (b'{"roles": ["admin"]}', JSON, 422),
        (b"[1]", JSON, 422),
        (b"{", JSON, 422),
        (b"x=1", {"content-type": "application/x-www-form-urlencoded"}, 415),
        (b"{}", {**JSON, "content-encoding": "gzip"}, 415),
    ],
)
@pytest.mark.parametrize(("method", "path"), [("POST", f"{V1}/users/me/export"), ("DELETE", f"{V1}/users/me")])
async def test_where_no_body_is_taken_none_is_let_pass(client: AsyncClient, method, path, body, headers, status):
    answer = await client.request(method, path, content=body, headers=headers)
    assert problem(answer)[0] == status


async def test_two_authorizations_are_refused(account):
    bearer = ("authorization", account.bearer["Authorization"])
    answer = await account.client.get(f"{V1}/users/me", headers=[bearer, bearer])
    assert problem(answer) == (400, "bad_request")


@pytest.mark.parametrize("coding", ["gzip", "gzip, chunked", "identity", "xchunked", "chunked, chunked", ""])
async def test_a_body_is_chunked_or_nothing_else(client: AsyncClient, coding):
    answer = await client.post(LOGIN, content=GOOD, headers={**JSON, "transfer-encoding": coding})
    assert problem(answer) == (400, "bad_request")


async def test_an_answer_without_content_has_no_type(account):
    empty = await account.logout()
    assert (empty.status_code, "content-type" in empty.headers) == (204, False)
    first = await account.client.get("/.well-known/jwks.json")
    same = await account.client.get("/.well-known/jwks.json", headers={"if-none-match": first.headers["etag"]})
    assert (same.status_code, "content-type" in same.headers) == (304, False)

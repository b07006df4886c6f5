"""The refresh token in a cookie, and the pages that may use it."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from httpx2 import ASGITransport, AsyncClient, Response

from app.core.config import settings
from tests.fixtures import Clock
from tests.flows import PASSWORD, V1, Account, problem

LOGIN, REFRESH, LOGOUT = (f"{V1}/auth/{name}" for name in ("login", "refresh", "logout"))
HERE = {"Sec-Fetch-Site": "same-origin"}
SET = re.compile(r"__Secure-refresh=(nfr_[\w-]+); Max-Age=(\d+); Path=/api/v1/auth; HttpOnly; Secure; SameSite=Strict")
EXPIRED = "__Secure-refresh=; Max-Age=0; Path=/api/v1/auth; HttpOnly; Secure; SameSite=Strict"


class Page(Account):
    """A page of ours: it keeps the access token, and the browser the cookie."""

    cookie = ""

    async def login(self) -> Response:
        sent = {"email": self.email, "password": self.password}
        return self._keep(await self.client.post(LOGIN, json=sent, headers={"X-Token-Delivery": "cookie"}))

    async def refresh(self, token: str | None = None, **headers: str) -> Response:
        return self._keep(await self.post(REFRESH, token, **(headers or HERE)))

    async def post(self, path: str, token: str | None = None, **headers: str) -> Response:
        sent = {
            "Cookie": f"__Secure-refresh={token or self.cookie}",
            **{k.replace("_", "-"): v for k, v in headers.items()},
        }
        return await self.client.post(path, headers=sent)

    def _keep(self, answer: Response) -> Response:
        found = SET.fullmatch(answer.headers.get("set-cookie", ""))
        if answer.status_code == 200 and found:
            self.cookie, self.pair = found[1], answer.json()
        return answer


@pytest.fixture
async def page(client: AsyncClient) -> Page:
    made = Page(client)
    await made.register()
    assert (await made.login()).status_code == 200
    return made


async def test_the_cookie_has_the_refresh_token_and_the_body_has_not(page: Page):
    answer = await page.login()
    assert set(answer.json()) == {"access_token", "token_type", "expires_in", "refresh_expires_in"}
    token, age = SET.fullmatch(answer.headers["set-cookie"]).groups()
    assert int(age) == answer.json()["refresh_expires_in"] <= 14 * 86400
    assert token not in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert (await page.me()).status_code == 200


@pytest.mark.parametrize("headers", [{}, {"X-Token-Delivery": "body"}])
async def test_without_being_asked_no_cookie_is_set(page: Page, headers: dict[str, str]):
    answer = await page.client.post(LOGIN, json={"email": page.email, "password": PASSWORD}, headers=headers)
    assert "refresh_token" in answer.json()
    assert "set-cookie" not in answer.headers


async def test_another_delivery_is_refused(page: Page):
    headers = {"X-Token-Delivery": "pigeon"}
    answer = await page.client.post(LOGIN, json={"email": page.email, "password": PASSWORD}, headers=headers)
    assert problem(answer) == (422, "validation_failed")
    assert answer.json()["errors"][0]["pointer"] == "/header/X-Token-Delivery"


async def test_a_refresh_spends_the_cookie_and_sets_the_next(page: Page):
    first = page.cookie
    answer = await page.refresh()
    assert answer.status_code == 200
    assert "refresh_token" not in answer.json()
    assert page.cookie != first
    assert (await page.me()).status_code == 200
    assert (await page.refresh()).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec_Fetch_Site": "same-origin"}, 200),
        ({"Origin": settings.origins[0]}, 200),
        ({"Origin": settings.origins[0], "Sec_Fetch_Site": "same-site"}, 200),
        ({"Sec_Fetch_Mode": "cors"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "none"}, 403),
        ({"Sec_Fetch_Site": "cross-site", "Origin": "https://evil.example"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": settings.origins[0] + ".evil.example"}, 403),
        ({"Origin": settings.origins[0].upper()}, 403),
        ({"Referer": settings.origins[0] + "/"}, 403),
    ],
)
async def test_the_cookie_counts_only_from_a_page_of_ours(page: Page, headers: dict[str, str], status: int):
    for path in (REFRESH, LOGOUT):
        answer = await page.post(path, **headers)
        if status == 403:
            assert problem(answer) == (403, "csrf_failed")
            assert "set-cookie" not in answer.headers
        else:
            assert answer.status_code in (200, 204)
            page._keep(answer)
    if status == 403:
        assert (await page.refresh()).status_code == 200, "a refused request spent or ended something"


async def test_a_token_in_the_body_goes_first_and_is_answered_in_the_body(page: Page, client: AsyncClient):
    other = Account(client, page.email)
    await other.login()
    sent = {"refresh_token": other.pair["refresh_token"]}
    cookie = {"Cookie": f"__Secure-refresh={page.cookie}"}
    answer = await client.post(REFRESH, json=sent, headers=cookie)
    assert "refresh_token" in answer.json()
    assert "set-cookie" not in answer.headers
    gone = await client.post(LOGOUT, json={"refresh_token": answer.json()["refresh_token"]}, headers=cookie)
    assert gone.status_code == 204
    assert not {"set-cookie", "clear-site-data"} & set(gone.headers)
    assert (await page.refresh()).status_code == 200


async def test_logout_ends_the_session_and_empties_the_browser(page: Page):
    answer = await page.post(LOGOUT, **HERE)
    assert answer.status_code == 204
    assert answer.headers["set-cookie"] == EXPIRED
    assert answer.headers["clear-site-data"] == '"cookies", "storage"'
    assert problem(await page.me()) == (401, "session_revoked")
    assert problem(await page.refresh()) == (401, "session_revoked")
    assert (await page.post(LOGOUT, **HERE)).status_code == 204


async def test_a_bearer_of_another_session_than_the_cookies_ends_neither(page: Page, client: AsyncClient):
    other = Account(client, page.email)
    await other.login()
    answer = await page.post(LOGOUT, **HERE, **other.bearer)
    assert problem(answer) == (422, "validation_failed")
    assert answer.json()["errors"][0]["pointer"] == "/cookie/__Secure-refresh"
    assert (await page.me()).status_code == (await other.me()).status_code == 200
    assert (await page.post(LOGOUT, **HERE, **page.bearer)).status_code == 204


async def test_a_logout_by_bearer_alone_clears_nothing(page: Page):
    answer = await page.logout()
    assert answer.status_code == 204
    assert not {"set-cookie", "clear-site-data"} & set(answer.headers)


async def test_a_dead_cookie_is_taken_from_the_browser(page: Page, clock: Clock):
    first = page.cookie
    await page.refresh()
    clock.advance(timedelta(seconds=11))
    for token, code in (
        (first, "refresh_token_reused"),
        (page.cookie, "session_revoked"),
        ("x", "invalid_refresh_token"),
    ):
        answer = await page.refresh(token)
        assert problem(answer) == (401, code)
        assert answer.headers["set-cookie"] == EXPIRED
    gone = await page.post(LOGOUT, "x", **HERE)
    assert problem(gone) == (401, "invalid_refresh_token")
    assert gone.headers["set-cookie"] == EXPIRED
    bad_bearer = await page.post(LOGOUT, **HERE, Authorization="Bearer x")
    assert problem(bad_bearer) == (401, "invalid_access_token")
    assert "set-cookie" not in bad_bearer.headers


async def test_without_any_token_there_is_nothing_to_refresh_or_end(client: AsyncClient):
    assert problem(await client.post(REFRESH, headers=HERE)) == (401, "invalid_refresh_token")
    assert problem(await client.post(REFRESH, headers={"Cookie": "__Secure-refresh="})) == (
        401,
        "invalid_refresh_token",
    )
    assert problem(await client.post(REFRESH, json={})) == (422, "validation_failed")
    assert problem(await client.post(LOGOUT, headers=HERE)) == (401, "not_authenticated")


async def test_the_token_endpoint_knows_no_cookies(page: Page, client: AsyncClient):
    headers = {"Cookie": f"__Secure-refresh={page.cookie}", "X-Token-Delivery": "cookie", **HERE}
    answer = await client.post(f"{V1}/auth/token", data={"grant_type": "refresh_token"}, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    form = {"grant_type": "password", "username": page.email, "password": PASSWORD}
    answer = await client.post(f"{V1}/auth/token", data=form, headers=headers)
    assert "refresh_token" in answer.json()
    assert "set-cookie" not in answer.headers


async def test_no_other_route_takes_the_cookie_for_a_token(page: Page, client: AsyncClient):
    answer = await client.get(f"{V1}/users/me", headers={"Cookie": f"__Secure-refresh={page.cookie}", **HERE})
    assert problem(answer) == (401, "not_authenticated")


async def test_the_configuration_says_that_there_is_a_browser_mode(client: AsyncClient):
    assert (await client.get(f"{V1}/config")).json()["auth"]["browser_mode"] is True


async def test_a_page_of_another_origin_may_ask_for_it(client: AsyncClient):
    headers = {
        "Origin": settings.origins[0],
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type, x-token-delivery, idempotency-key, authorization",
    }
    asked = await client.options(LOGIN, headers=headers)
    assert asked.status_code == 204
    assert asked.headers["access-control-allow-credentials"] == "true"
    assert asked.headers["access-control-allow-origin"] == settings.origins[0]
    exposed = set(asked.headers["access-control-expose-headers"].lower().split(", "))
    assert exposed >= {
        "idempotency-replayed",
        "ratelimit",
        "ratelimit-policy",
        "x-request-id",
        "retry-after",
        "location",
    }


@pytest.fixture
async def browser(app) -> AsyncIterator[AsyncClient]:
    """A client that keeps cookies as a browser does: over https, by path, and until they expire."""
    base = settings.public_url.replace("http://", "https://")
    async with AsyncClient(transport=ASGITransport(app), base_url=base, trust_env=False) as made:
        yield made


async def test_a_cookie_jar_carries_a_whole_visit(page: Page, browser: AsyncClient):
    sent = {"email": page.email, "password": PASSWORD}
    await browser.post(LOGIN, json=sent, headers={"X-Token-Delivery": "cookie"})
    assert [cookie.name for cookie in browser.cookies.jar] == ["__Secure-refresh"]
    for _ in range(3):
        assert (await browser.post(REFRESH, headers=HERE)).status_code == 200
    sent_elsewhere = (await browser.get(f"{V1}/health")).request.headers
    assert "cookie" not in sent_elsewhere
    assert (await browser.post(LOGOUT, headers=HERE)).status_code == 204
    assert not list(browser.cookies.jar)

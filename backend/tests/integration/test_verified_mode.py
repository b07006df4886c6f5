"""Where sign-in needs a verified email, registering tells nobody who exists: the mailbox does."""

from collections.abc import Awaitable, Callable

from tests.fixtures import NewClient
from tests.flows import V1, Account, problem
from tests.inbox import Inbox, link_token
from tests.stack import Server


async def test_registering_tells_nothing_and_the_owner_is_told_by_mail(
    server: Callable[..., Awaitable[Server]], new_client: NewClient, worker, smtp: Inbox
) -> None:
    client = new_client((await server(REQUIRE_VERIFIED_EMAIL="true")).url)
    account = Account(client)
    first = await account.register()
    assert (first.status_code, first.json()) == (202, {"status": "verification_pending"})
    mail = await smtp.wait_for(account.email)
    assert problem(await account.login()) == (403, "email_not_verified")
    stranger = Account(client, email=account.email, password="another-plum-otter-77")
    assert problem(await stranger.login()) == (401, "invalid_credentials")

    answer = await client.post(f"{V1}/auth/verify-email", json={"token": link_token(mail)})
    assert answer.status_code == 204
    assert (await account.login()).status_code == 200

    again = await stranger.register()
    assert (again.status_code, again.content) == (202, first.content)
    differing = {"x-request-id", "date"}
    assert {k: v for k, v in again.headers.items() if k not in differing} == {
        k: v for k, v in first.headers.items() if k not in differing
    }
    told = await smtp.wait_for(account.email, number=2)
    assert told.subject == "You already have an account"
    assert problem(await stranger.login()) == (401, "invalid_credentials")


async def test_an_unverified_address_that_registers_again_gets_a_new_link(
    server: Callable[..., Awaitable[Server]], new_client: NewClient, worker, smtp: Inbox
) -> None:
    client = new_client((await server(REQUIRE_VERIFIED_EMAIL="true")).url)
    account = Account(client)
    await account.register()
    old = link_token(await smtp.wait_for(account.email))
    assert (await account.register()).status_code == 202
    new = link_token(await smtp.wait_for(account.email, number=2))
    assert old != new
    for token, status in ((old, 400), (new, 204)):
        assert (await client.post(f"{V1}/auth/verify-email", json={"token": token})).status_code == status

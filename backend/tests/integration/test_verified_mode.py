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


async def test_a_second_registration_changes_nothing_until_its_own_link_comes_back(
    server: Callable[..., Awaitable[Server]], new_client: NewClient, worker, smtp: Inbox
) -> None:
    client = new_client((await server(REQUIRE_VERIFIED_EMAIL="true")).url)
    hijacker = Account(client, password="another-plum-otter-77")
    first = await hijacker.register()
    old = link_token(await smtp.wait_for(hijacker.email))
    owner = Account(client, email=hijacker.email)
    again = await owner.register()
    assert (again.status_code, again.content) == (202, first.content)
    own = link_token(await smtp.wait_for(owner.email, number=2))
    assert problem(await hijacker.login()) == (403, "email_not_verified")
    assert problem(await owner.login()) == (401, "invalid_credentials")

    assert (await client.post(f"{V1}/auth/verify-email", json={"token": own})).status_code == 204
    assert (await owner.login()).status_code == 200
    assert problem(await hijacker.login()) == (401, "invalid_credentials")
    assert problem(await client.post(f"{V1}/auth/verify-email", json={"token": old})) == (400, "invalid_token")


async def test_the_first_link_still_works_after_a_second_registration(
    server: Callable[..., Awaitable[Server]], new_client: NewClient, worker, smtp: Inbox
) -> None:
    client = new_client((await server(REQUIRE_VERIFIED_EMAIL="true")).url)
    owner = Account(client)
    await owner.register()
    own = link_token(await smtp.wait_for(owner.email))
    stranger = Account(client, email=owner.email, password="another-plum-otter-77")
    await stranger.register()
    late = link_token(await smtp.wait_for(owner.email, number=2))
    assert (await client.post(f"{V1}/auth/verify-email", json={"token": own})).status_code == 204
    assert (await owner.login()).status_code == 200
    assert problem(await client.post(f"{V1}/auth/verify-email", json={"token": late})) == (400, "invalid_token")
    assert problem(await stranger.login()) == (401, "invalid_credentials")

"""What a client does, through the front door. Shared by the tests of every stack."""

import secrets
from dataclasses import dataclass, field
from typing import Any

from httpx2 import AsyncClient, Response

V1 = "/api/v1"
PASSWORD = "plum-otter-42-lantern"


def new_email() -> str:
    return f"user-{secrets.token_hex(8)}@example.com"


@dataclass
class Account:
    """A registered account and the pair it signed in with."""

    client: AsyncClient
    email: str = field(default_factory=new_email)
    password: str = PASSWORD
    pair: dict[str, Any] = field(default_factory=dict)

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.pair['access_token']}"}

    async def register(self) -> Response:
        return await self.client.post(f"{V1}/auth/register", json={"email": self.email, "password": self.password})

    async def login(self) -> Response:
        answer = await self.client.post(f"{V1}/auth/login", json={"email": self.email, "password": self.password})
        if answer.status_code == 200:
            self.pair = answer.json()
        return answer

    async def refresh(self, token: str | None = None) -> Response:
        return await self.client.post(f"{V1}/auth/refresh", json={"refresh_token": token or self.pair["refresh_token"]})

    async def me(self) -> Response:
        return await self.client.get(f"{V1}/users/me", headers=self.bearer)

    async def logout(self) -> Response:
        return await self.client.post(f"{V1}/auth/logout", headers=self.bearer)


async def signed_in(client: AsyncClient) -> Account:
    """A new account that has registered and signed in."""
    account = Account(client)
    assert (await account.register()).status_code == 201
    assert (await account.login()).status_code == 200
    return account


def problem(answer: Response) -> tuple[int, str]:
    """Status and code of a problem answer."""
    assert answer.headers["content-type"].startswith("application/problem+json"), answer.text
    return answer.status_code, answer.json()["code"]

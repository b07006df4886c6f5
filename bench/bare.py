"""The yardstick: a bare FastAPI endpoint with the response model of `GET /users/me`, and nothing else."""

from typing import Any

from app.core.clock import utc_now
from app.core.sql import new_id
from app.schemas.users import UserResponse
from fastapi import FastAPI

app = FastAPI()
USER: dict[str, Any] = {
    "id": new_id(),
    "email": "ada@example.com",
    "full_name": None,
    "is_active": True,
    "is_verified": False,
    "roles": [],
    "created_at": utc_now(),
    "updated_at": utc_now(),
}


@app.get("/me", response_model=UserResponse)
async def me() -> dict[str, Any]:
    return USER

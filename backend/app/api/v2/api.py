"""The table of contents of version 2: only what differs from version 1 gets a room here."""

from app.api.strict import StrictRouter
from app.api.v2.endpoints import users

api_router = StrictRouter()
api_router.include_router(users.router)

"""Dynamic settings and flags for those who may change them."""

import re
from typing import Annotated

from fastapi import Depends, Header, Path, Request, Response

from app.api.deps import DB, CurrentPrincipal, Listing, no_store, require
from app.api.limits import limit
from app.api.problems import raises
from app.api.strict import StrictRouter
from app.core.errors import (
    InvalidAccessToken,
    NotAuthenticated,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    SessionRevoked,
)
from app.core.permissions import Permission
from app.schemas.dynamic_config import ConfigChange, ConfigHistory, ConfigItem, ConfigRevert
from app.schemas.pages import Page
from app.services import configuring

AUTH = raises(NotAuthenticated, InvalidAccessToken, SessionRevoked, PermissionDenied)
router = StrictRouter(
    prefix="/admin/config",
    tags=["admin"],
    dependencies=[Depends(no_store), require(Permission.config_write)],
    responses=AUTH,
)
Key = Annotated[str, Path()]
_TAG = re.compile(r'"?(\d{1,9})"?')


async def get_expected(
    request: Request,
    if_match: Annotated[
        str | None, Header(description="The `revision` that was read, as the ETag names it; or several, by comma.")
    ] = None,
) -> frozenset[int] | None:
    """The revisions of which one has to be the last; None where any may be.

    A weak ETag names none, and none of ours looks otherwise (RFC 9110, 13.1.1).
    """
    if if_match is None:
        return None
    tags = [tag.strip() for line in request.headers.getlist("if-match") for tag in line.split(",")]
    if tags == ["*"]:
        return None
    return frozenset(int(found[1]) for tag in tags if (found := _TAG.fullmatch(tag)))


Expected = Annotated[frozenset[int] | None, Depends(get_expected)]
CHANGES = raises(NotFound, PreconditionFailed)


def _tagged(response: Response, item: ConfigItem) -> ConfigItem:
    response.headers["ETag"] = f'"{item.revision}"'
    return item


@router.get("")
async def list_config(db: DB) -> Page[ConfigItem]:
    """Every declared key, with its default and what holds."""
    return Page[ConfigItem](items=await configuring.listing(db), next_cursor=None)


@router.get("/{key}", responses=raises(NotFound))
async def read_config_key(key: Key, db: DB, response: Response) -> ConfigItem:
    """One of them. Its `ETag` names the revision."""
    return _tagged(response, await configuring.show(db, key))


@router.put("/{key}", dependencies=[limit("general")], responses=CHANGES)
async def set_config(
    key: Key, new: ConfigChange, principal: CurrentPrincipal, db: DB, response: Response, expected: Expected
) -> ConfigItem:
    """Set it, on every replica within a second. A flag takes true, false or a rule: `roles`, `users`, `percentage`."""
    done = await configuring.set_value(db, key, new.value, actor=principal.id, comment=new.comment, expected=expected)
    return _tagged(response, done)


@router.delete("/{key}", dependencies=[limit("general")], responses=CHANGES)
async def clear_config(
    key: Key, principal: CurrentPrincipal, db: DB, response: Response, expected: Expected
) -> ConfigItem:
    """Have its default hold again."""
    return _tagged(response, await configuring.clear(db, key, actor=principal.id, expected=expected))


@router.get("/{key}/history", responses=raises(NotFound))
async def read_config_history(key: Key, db: DB, window: Listing) -> Page[ConfigHistory]:
    """Who changed it, when, why, from what and to what, the newest first."""
    return await configuring.history(db, key, window)


@router.post("/{key}/revert", dependencies=[limit("general")], responses=CHANGES)
async def revert_config(
    key: Key, given: ConfigRevert, principal: CurrentPrincipal, db: DB, response: Response, expected: Expected
) -> ConfigItem:
    """Have what held after a revision hold again, as a revision of its own."""
    done = await configuring.revert(
        db, key, given.revision, actor=principal.id, comment=given.comment, expected=expected
    )
    return _tagged(response, done)

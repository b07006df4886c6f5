"""Dynamic settings and flags as operators change them: each change a revision, audited and told to every process."""

from typing import Any
from uuid import UUID

import structlog
from pydantic import ValidationError
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.clock import utc_now
from app.core.declared import DECLARED
from app.core.dynamic import Setting
from app.core.errors import NotFound, PreconditionFailed, ServiceUnavailable, ValidationFailed
from app.crud import change
from app.crud import config_revision as rows
from app.models.audit import Action
from app.models.config_revision import ConfigRevision
from app.schemas.dynamic_config import ConfigHistory, ConfigItem
from app.schemas.pages import Page, Window
from app.services import audit

TRIES = 5  # to be the next revision, where others are at the same moment

log = structlog.get_logger()


async def listing(db: AsyncSession) -> list[ConfigItem]:
    """Every declared key, as the database has it."""
    last = await rows.last_of_all(db)
    return [_item(setting, last.get(key)) for key, setting in DECLARED.items()]


async def show(db: AsyncSession, key: str) -> ConfigItem:
    """
    Raises:
        NotFound: nobody declares the key.
    """
    setting = _declared(key)
    return _item(setting, await rows.last(db, key))


async def set_value(
    db: AsyncSession,
    key: str,
    value: Any,
    *,
    actor: UUID | None,
    comment: str | None = None,
    expected: int | None = None,
) -> ConfigItem:
    """Have the key have this value. With `expected`, only if its last change is that revision.

    Raises:
        NotFound; ValidationFailed: of another type, or out of bounds; PreconditionFailed.
    """
    setting = _declared(key)
    try:
        setting.parse(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise ValidationFailed.at("/value", "config_value_invalid", f"{first['msg']}.") from None
    return await _change(db, setting, {"value": value}, actor=actor, comment=comment, expected=expected)


async def clear(
    db: AsyncSession, key: str, *, actor: UUID | None, comment: str | None = None, expected: int | None = None
) -> ConfigItem:
    """Have the default hold again.

    Raises:
        NotFound, PreconditionFailed
    """
    return await _change(db, _declared(key), None, actor=actor, comment=comment, expected=expected)


async def revert(
    db: AsyncSession,
    key: str,
    revision: int,
    *,
    actor: UUID | None,
    comment: str | None = None,
    expected: int | None = None,
) -> ConfigItem:
    """Have what held after that revision hold again, as a revision of its own.

    Raises:
        NotFound: no such key, or no such revision; ValidationFailed: it does not fit any more; PreconditionFailed.
    """
    _declared(key)
    old = await rows.one(db, key, revision)
    if old is None:
        raise NotFound
    why = comment or f"back to revision {revision}"
    if old.after is None:
        return await clear(db, key, actor=actor, comment=why, expected=expected)
    return await set_value(db, key, old.after["value"], actor=actor, comment=why, expected=expected)


async def history(db: AsyncSession, key: str, window: Window) -> Page[ConfigHistory]:
    """The changes of a key, the newest first.

    Raises:
        NotFound
    """
    default = _declared(key).default
    return (await rows.history(db, key, window)).of(
        lambda row: ConfigHistory(
            revision=row.revision,
            created_at=row.created_at,
            actor_id=row.actor_id,
            comment=row.comment,
            before=row.before["value"] if row.before else default,
            after=row.after["value"] if row.after else default,
            set=row.after is not None,
        )
    )


async def _change(
    db: AsyncSession,
    setting: Setting[Any],
    after: dict[str, Any] | None,
    *,
    actor: UUID | None,
    comment: str | None,
    expected: int | None,
) -> ConfigItem:
    made = await _append(db, setting.key, after, expected=expected, comment=comment, actor_id=actor)
    await change.record(db, change.CONFIG, setting.key)
    await audit.record(db, Action.config_changed, actor=actor, target=setting.key, target_type="config")
    log.info("config_changed", key=setting.key, revision=made.revision)
    return _item(setting, made)


async def _append(
    db: AsyncSession, key: str, after: dict[str, Any] | None, *, expected: int | None, **said: Any
) -> ConfigRevision:
    for _ in range(TRIES):
        last = await rows.last(db, key)
        revision = last.revision if last else 0
        if expected is not None and expected != revision:
            raise PreconditionFailed
        before = last.after if last else None
        made = ConfigRevision(key=key, revision=revision + 1, before=before, after=after, created_at=utc_now(), **said)
        if await rows.add(db, made):
            return made
    raise ServiceUnavailable  # so many others were first, by a moment each


def _declared(key: str) -> Setting[Any]:
    if key not in DECLARED:
        raise NotFound
    return DECLARED[key]


def _item(setting: Setting[Any], last: ConfigRevision | None) -> ConfigItem:
    held = last if last and last.after else None
    return ConfigItem(
        key=setting.key,
        type=setting.kind,
        default=setting.default,
        value=held.after["value"] if held and held.after else setting.default,
        visibility=setting.visibility,
        description=setting.description,
        owner=setting.owner,
        source="database" if held else "default",
        revision=last.revision if last else 0,
        updated_at=held.created_at if held else None,
        updated_by=held.actor_id if held else None,
    )

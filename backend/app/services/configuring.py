"""Dynamic settings and flags as operators change them: each change a revision, audited and told to every process."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

import structlog
from pydantic import ValidationError
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core import plain
from app.core.clock import utc_now
from app.core.declared import DECLARED
from app.core.dynamic import Setting
from app.core.errors import NotFound, PreconditionFailed, ValidationFailed
from app.crud import change
from app.crud import config_revision as rows
from app.models.audit import Action
from app.models.config_revision import ConfigRevision
from app.schemas.dynamic_config import ConfigHistory, ConfigItem
from app.schemas.pages import Page, Window
from app.services import audit

MAX_COMMENT = 500  # characters

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
    expected: Collection[int] | None = None,
) -> ConfigItem:
    """Have the key have this value. With `expected`, only if its last change is one of these revisions.

    Raises:
        NotFound; ValidationFailed: of another type, or out of bounds; PreconditionFailed.
    """
    setting = _declared(key)
    try:
        normal = setting.normal(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = "".join(f"/{part}" for part in ("value", *first["loc"]))
        raise ValidationFailed.at(place, "config_value_invalid", f"{first['msg']}.") from None
    except (ValueError, RecursionError) as error:
        raise ValidationFailed.at("/value", "config_value_invalid", f"{error}.") from None
    return await _change(db, setting, {"value": normal}, actor=actor, comment=comment, expected=expected)


async def clear(
    db: AsyncSession,
    key: str,
    *,
    actor: UUID | None,
    comment: str | None = None,
    expected: Collection[int] | None = None,
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
    expected: Collection[int] | None = None,
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
    return await set_value(db, key, old.after.get("value"), actor=actor, comment=why, expected=expected)


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
            before=row.before.get("value") if row.before else default,
            after=row.after.get("value") if row.after else default,
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
    expected: Collection[int] | None,
) -> ConfigItem:
    if comment is not None:
        _check_comment(comment)
    made = await _append(db, setting.key, after, expected=expected, comment=comment, actor_id=actor)
    await change.record(db, change.CONFIG, setting.key)
    await audit.record(db, Action.config_changed, actor=actor, target=setting.key, target_type="config")
    log.info("config_changed", key=setting.key, revision=made.revision)
    return _item(setting, made)


async def _append(
    db: AsyncSession, key: str, after: dict[str, Any] | None, *, expected: Collection[int] | None, **said: Any
) -> ConfigRevision:
    await rows.hold(db, key)
    last = await rows.last(db, key)
    revision = last.revision if last else 0
    if expected is not None and revision not in expected:
        raise PreconditionFailed
    before = last.after if last else None
    made = ConfigRevision(key=key, revision=revision + 1, before=before, after=after, created_at=utc_now(), **said)
    await rows.add(db, made)
    return made


def _check_comment(comment: str) -> None:
    if len(comment) > MAX_COMMENT:
        raise ValidationFailed.at("/comment", "string_too_long", f"It has more than {MAX_COMMENT} characters.")
    try:
        plain.check(comment)
    except ValueError as error:
        raise ValidationFailed.at("/comment", "comment_invalid", f"{error}.") from None


def _declared(key: str) -> Setting[Any]:
    if key not in DECLARED:
        raise NotFound
    return DECLARED[key]


def _item(setting: Setting[Any], last: ConfigRevision | None) -> ConfigItem:
    """What holds: a value that does not fit any more does not."""
    held = last if last and last.after else None
    value = setting.default
    if held and held.after:
        try:
            value = setting.normal(held.after.get("value"))
        except ValueError:
            held = None
    return ConfigItem(
        key=setting.key,
        type=setting.kind,
        default=setting.default,
        value=value,
        visibility=setting.visibility,
        description=setting.description,
        owner=setting.owner,
        source="database" if held else "default",
        revision=last.revision if last else 0,
        updated_at=held.created_at if held else None,
        updated_by=held.actor_id if held else None,
    )

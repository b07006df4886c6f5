"""Who is behind a session, for all that ask at the same moment: from Redis where another process has asked, else from
the database. What is asked begins after each request that waits for it has come.

A process that is the only one has read whatever it would find in Redis, and leaves it alone; so do those that have the
database beside them, in a file, which says nothing by which a copy could be told from one of before a restore.
"""

from collections.abc import Mapping, Sequence

from app.core import background
from app.core.config import settings
from app.core.db import engine
from app.core.metrics import PRINCIPALS_READ
from app.core.security import AccessClaims
from app.core.sql import is_sqlite
from app.core.together import Together
from app.crud import principal
from app.schemas.principal import Principal
from app.services import user_cache
from app.services.user_cache import Whose


async def load(claims: AccessClaims) -> Principal | None:
    """The account and session; None when either is gone, or they do not belong together.

    Raises:
        TimeoutError: the database does not answer.
    """
    return await _together.answer(Whose(claims.user_id, claims.session_id))


async def _load(asked: Sequence[Whose]) -> Mapping[Whose, Principal]:
    shared = settings.processes > 1 and not is_sqlite(engine())
    found = await user_cache.get_user_cache(asked) if shared else {}
    rest = [one.session_id for one in asked if one not in found]
    PRINCIPALS_READ.labels(source="redis").inc(len(found))
    if rest:
        PRINCIPALS_READ.labels(source="database").inc(len(rest))
        read, place = await principal.load(rest)
        if shared:
            background.start(user_cache.set_user_cache(read, place))
        found |= {Whose(one.id, one.session_id): one for one in read}
    return found


_together = Together(_load)

"""Of which changes this process was told, so that it can tell whether somebody else's copy knows of them.

A copy names its `Place`: what the database could see when it was read. It is used where that is all that could be seen
when this process was told of the last change. Nothing hangs on clocks, or on when somebody put the copy where it is.
"""

from collections import OrderedDict
from collections.abc import Iterable

from app.crud.change import Place

MOST = 4_096  # subjects; of those before, all that is known is that a copy has to be younger


class Told:
    """Which subjects changed since `_horizon`, and where it could be seen."""

    def __init__(self) -> None:
        self._horizon: Place | None = None
        """Changes that could not be seen there are remembered one by one."""
        self._seen: OrderedDict[str, Place] = OrderedDict()
        self._own: dict[str, int] = {}
        """What this process changed itself, and no read of the feed has told it yet, with the number of that change."""

    def begin(self, place: Place, *, began: int) -> None:
        """Know of nothing before `place`, which was found when `began` was the number of the last change."""
        self._seen.clear()
        self._horizon = place
        self._forget_own(began)

    def read(self, subjects: Iterable[str], place: Place, *, began: int) -> None:
        """Changes of these can be seen at `place`."""
        for subject in subjects:
            self._seen[subject] = place
            self._seen.move_to_end(subject)
        while len(self._seen) > MOST:
            self._horizon = self._seen.popitem(last=False)[1]
        self._forget_own(began)

    def made(self, subject: str, number: int) -> None:
        """This process has changed it, and does not know yet where that can be seen."""
        if len(self._own) < MOST:
            self._own[subject] = number

    def _forget_own(self, began: int) -> None:
        self._own = {subject: number for subject, number in self._own.items() if number > began}

    def are_known_at(self, place: Place, subjects: Iterable[str]) -> bool:
        """Whether all that this process was told of these could be seen at `place`."""
        if self._horizon is None or len(self._own) >= MOST:
            return False
        return all(
            subject not in self._own and place.sees(self._seen.get(subject, self._horizon)) for subject in subjects
        )

"""The processes that a worker forks end when it does, however it ended: a task that nobody watches holds no lease."""

import os

from app.core.process import die_with_parent


def tie_forks() -> None:
    """Tie every process that this one forks from now on to its life."""
    parents: list[int] = []
    os.register_at_fork(
        before=lambda: parents.append(os.getpid()),
        after_in_parent=lambda: parents.clear(),
        after_in_child=lambda: die_with_parent(parents[-1]),
    )

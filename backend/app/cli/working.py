"""`neoforge worker`: Celery in a child process that is kept."""

import click

from app.cli import keeper, lifeline
from app.core.metrics_folder import metrics_folder


def work(concurrency: int | None, queues: str | None) -> None:
    """Carry out tasks until SIGTERM, of these queues alone where some are named.

    Raises:
        BadParameter: TASK_QUEUES does not name one of them.
    """
    options = [f"--concurrency={concurrency}"] if concurrency else []
    options += [f"--queues={','.join(_known(queues))}"] if queues is not None else []

    def carry_out() -> None:
        lifeline.tie_forks()
        with metrics_folder():  # before the import of what counts
            from app.worker.celery import run_worker

            run_worker(options)

    keeper.keep(carry_out)


def _known(queues: str) -> list[str]:
    from app.core.config import settings

    names = [name.strip() for name in queues.split(",")]
    if unknown := [name for name in names if name not in settings.task_queues]:
        raise click.BadParameter(
            f"there is no queue {unknown[0]!r}: TASK_QUEUES names {', '.join(settings.task_queues)}.",
            ctx=click.get_current_context(),
        )
    return names

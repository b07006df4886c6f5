"""Celery: the doorbell. It carries a row's id to a worker; the row is the truth, so a lost message loses nothing."""

import os
import signal
from collections.abc import Sequence
from threading import Timer
from types import FrameType
from typing import Any, NoReturn
from urllib.parse import urlsplit
from uuid import UUID

os.environ.setdefault("REMAP_SIGTERM", "SIGQUIT")  # read by billiard when it is imported: SIGTERM stops softly

from celery import Celery, Task, signals
from kombu import Queue
from redis.backoff import NoBackoff
from redis.retry import Retry

import app.worker.tasks  # noqa: F401 - registers the tasks
from app.core import redis, tls
from app.core.config import settings
from app.core.logging import set_up
from app.core.process import say_ready
from app.worker import pulse, runtime, scrape
from app.worker.tracking import REGISTRY, TrackedTask

CONNECT_TIMEOUT = 2  # seconds
GIVING_BACK = 5  # seconds for tasks that did not end in time on SIGTERM to be given back
HARD_LIMIT = 15  # seconds past a task's own limit, after which Celery kills the process that runs it
VISIBILITY_TIMEOUT = 300  # seconds until Redis offers an unacknowledged message again; the row's lease is far quicker


class Doorbell(Task):  # type: ignore[type-arg]  # generic in its types only, not at run time
    """The Celery side of a tracked task. Only the relay rings it."""

    abstract = True

    def delay(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: see `TrackedTask.delay`."""
        REGISTRY[self.name.removeprefix("neoforge.")].delay()

    apply_async = delay


celery_app = Celery("neoforge", task_cls=Doorbell, set_as_current=True)
celery_app.conf.update(
    accept_content=["json"],
    task_serializer="json",
    task_ignore_result=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_send_sent_event=settings.task_events,
    worker_send_task_events=settings.task_events,
    worker_prefetch_multiplier=1,
    worker_concurrency=settings.worker_concurrency,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    worker_soft_shutdown_timeout=settings.shutdown_timeout + GIVING_BACK,
    worker_enable_soft_shutdown_on_idle=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_channel_error_retry=True,  # a Redis that is full or read-only answers with errors, and gets well again
    broker_connection_timeout=CONNECT_TIMEOUT,
    broker_transport_options={
        "visibility_timeout": VISIBILITY_TIMEOUT,
        "socket_timeout": 10,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "socket_keepalive": True,
        "health_check_interval": 20,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
    },
    task_publish_retry=False,
    task_default_queue="default",
    task_queues=[Queue(name) for name in settings.task_queues],
    task_create_missing_queues=False,
)


def _doorbell(tracked: TrackedTask) -> None:
    limit = int(tracked.timeout.total_seconds()) + HARD_LIMIT

    @celery_app.task(name=f"neoforge.{tracked.task_type}", bind=True, time_limit=limit)
    def ring(self: Any, ids: Sequence[str] = ()) -> None:
        """Carry out the row that the message is called by, or those that it names."""
        runtime.run(tracked.task_type, [UUID(one) for one in ids or (self.request.id,)])


def ring_for(*tracked: TrackedTask) -> None:
    """Have Celery know these tasks."""
    for one in tracked:
        _doorbell(one)


ring_for(*REGISTRY.values())


def connect(prefix: str) -> None:
    """Point Celery at its Redis, with our prefix before every key, so that installations can share one."""
    url = settings.broker_url or redis.redis_url()
    if not url:
        raise SystemExit("no broker: set REDIS_URL, or start `make dev`, whose embedded Valkey is found by itself")
    options = {**celery_app.conf.broker_transport_options, "global_keyprefix": prefix}
    secured = tls.for_redis(url)
    scheme, _, rest = url.partition("://")
    if scheme.endswith("+sentinel"):
        parts = urlsplit(f"redis://{rest}")
        login, at, hosts = parts.netloc.rpartition("@")
        name, _, database = parts.path.strip("/").partition("/")
        url = ";".join(f"sentinel://{login}{at}{host}/{database or 0}" for host in hosts.split(","))
        options["master_name"] = name or "mymaster"
        options["sentinel_kwargs"] = {
            "password": redis.sentinel_password(parts),
            "socket_timeout": CONNECT_TIMEOUT,
            "socket_connect_timeout": CONNECT_TIMEOUT,
            "retry": Retry(NoBackoff(), 0),  # the next Sentinel is asked at once
            **({"ssl": True, **secured} if secured else {}),
        }
    # Said in words: of a rediss:// URL alone, Celery checks no certificate.
    celery_app.conf.update(broker_url=url, broker_transport_options=options, broker_use_ssl=secured or None)


def run_worker(argv: list[str] | None = None) -> None:
    """Run a worker until it is told to stop. It waits for the database first, which knows the prefix."""
    set_up("worker")
    connect(pulse.wait_for_prefix())
    celery_app.worker_main(
        ["worker", "--loglevel", settings.log_level, "--without-gossip", "--without-mingle", *(argv or [])]
    )


@signals.worker_ready.connect
def _alive(sender: Any, **_: Any) -> None:
    pulse.start("worker")
    scrape.serve(settings.worker_metrics_port)
    _give_back_before_stopping(sender.controller)
    say_ready()


@signals.worker_shutdown.connect
def _stopping(**_: Any) -> None:
    pulse.stop()


def _give_back_before_stopping(worker: Any) -> None:
    """On SIGTERM tasks have SHUTDOWN_TIMEOUT to end; then they are stopped and given back, and Celery sees them end."""
    stop = signal.getsignal(signal.SIGTERM)
    if not callable(stop):
        return

    def give_back() -> None:
        for process in worker.pool._pool._pool if worker.pool else ():
            os.kill(process.pid, signal.SIGUSR2)

    def told(signum: int, frame: FrameType | None) -> None:
        waiting = Timer(settings.shutdown_timeout, give_back)
        waiting.daemon = True
        waiting.start()
        stop(signum, frame)

    signal.signal(signal.SIGTERM, told)


@signals.worker_process_init.connect
def _born(**_: Any) -> None:
    signal.signal(signal.SIGUSR2, lambda *_: runtime.wind_down())

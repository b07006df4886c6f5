"""The peer: a plain Celery app with a task that does nothing and one with an effect.

python -m celery -A bench.celery_app worker
python -m bench.celery_app fill NAME COUNT      sends so many
python -m bench.celery_app latency COUNT        sends one after another; prints the ms from each send to its start

CELERY_SAFE=1 adds the settings known to keep work over a killed worker: late acknowledgement, redelivery when a child
is lost, one message ahead, and a visibility timeout that is short, so that what was under way comes back in the test.
"""

import asyncio
import json
import os
import random
import sys
import time
from functools import lru_cache
from pathlib import Path

from celery import Celery

from bench.effect import leave_effect
from bench.marks import mark, read, started

SAFE = {
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_prefetch_multiplier": 1,
}
VISIBILITY = {"visibility_timeout": 15, "unacked_restore_interval": 5, "unacked_restore_throttle": 1}  # seconds
safe = os.environ.get("CELERY_SAFE") == "1"

app = Celery("bench", broker=os.environ["CELERY_BROKER"])
app.conf.update(
    task_ignore_result=True,
    worker_concurrency=2,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"global_keyprefix": os.environ["CELERY_PREFIX"], **(VISIBILITY if safe else {})},
    **(SAFE if safe else {}),
)


@app.task(name="bench.noop")
def noop() -> None:
    mark()


@app.task(name="bench.effect", bind=True)
def effect(self: object) -> None:
    mark()
    _runner(os.getpid()).run(leave_effect(self.request.id))  # type: ignore[attr-defined]  # Celery's bound task


@lru_cache(maxsize=1)
def _runner(_process: int) -> asyncio.Runner:
    return asyncio.Runner()


def fill(name: str, count: int) -> None:
    with app.producer_or_acquire() as producer:
        for _ in range(count):
            app.send_task(f"bench.{name}", producer=producer)


async def latency(count: int) -> None:
    marks, waits = Path(os.environ["BENCH_MARKS"]), []
    for _ in range(count):
        await asyncio.sleep(random.uniform(0.05, 0.15))
        before, _ = read(marks)
        sent = time.time_ns()
        noop.delay()
        waits.append((await started(marks, before) - sent) / 1e6)
    print(json.dumps(waits))


if __name__ == "__main__":
    what, *words = sys.argv[1:]
    if what == "fill":
        fill(words[0], int(words[1]))
    else:
        asyncio.run(latency(int(words[0])))

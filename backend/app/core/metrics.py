"""What is counted. Definitions only: the parts that do the work move them, `api/endpoints/metrics.py` shows them."""

from prometheus_client import Counter, Gauge, Histogram

REQUEST_COUNT = Counter("http_requests_total", "Requests that were answered", ["method", "endpoint"])
REQUEST_DURATION = Histogram(
    "http_request_duration_seconds",
    "Time from a request's first byte to the end of its answer, or to the beginning of an event stream",
    ["method", "endpoint"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
RESPONSE_COUNT = Counter("http_responses_total", "Answers by status", ["status"])

EVENT_STREAMS = Gauge("event_streams", "Event streams that are open", multiprocess_mode="livesum")

PRINCIPALS_KEPT = Gauge("principals_kept", "Access tokens whose account is kept in memory", multiprocess_mode="livesum")
PRINCIPALS_READ = Counter("principals_read_total", "Accounts read for tokens that were not kept, by source", ["source"])

LIMIT_REFUSALS = Counter("rate_limit_refusals_total", "Requests that a rate limit refused", ["rule"])
LIMIT_FALLBACKS = Counter("rate_limit_fallbacks_total", "Checks without Redis, by the process's own share", ["rule"])

SESSIONS_REPLAYED = Counter("sessions_replayed_total", "Sessions ended because a spent refresh token came back")

BREACH_CHECKS = Counter("breach_checks_total", "Passwords looked up among breached ones", ["outcome"])

TASKS_RUNG = Counter("tasks_rung_total", "Times the relay rang Celery for a row")
TASKS_RESCUED = Counter("tasks_rescued_total", "Rows rung again because a message was lost or a worker died")
TASK_MESSAGES_DROPPED = Counter("task_messages_dropped_total", "Messages for rows that were not to be had", ["reason"])
TASK_OUTCOMES = Counter("task_outcomes_total", "Runs by what became of them", ["task_type", "outcome"])
TASK_DURATION = Histogram(
    "task_duration_seconds",
    "Time from a row's claim to its settling",
    ["task_type", "outcome"],
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 120),
)
TASKS_OLDEST_DUE = Gauge(
    "tasks_oldest_due_seconds", "How long the oldest due row of a queue that is not paused has waited", ["queue"]
)
TASKS_WAITING = Gauge("tasks_waiting", "Rows that are due and that nobody runs; at most 10000 are counted", ["queue"])

AUDIT_SEALS = Gauge("audit_seals", "Audited events that are sealed", multiprocess_mode="mostrecent")
AUDIT_UNSEALED_AGE = Gauge(
    "audit_unsealed_age_seconds", "How long the first event has waited for its seal", multiprocess_mode="mostrecent"
)

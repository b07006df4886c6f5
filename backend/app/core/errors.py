"""Every error that a client can meet: its status, its code for ever, and whether what was changed before it stands.

The first line of a docstring is the problem's public title; the rest is on its page under `/problems/<code>`.
"""

from math import ceil
from typing import Any, ClassVar


class AppError(Exception):
    """The request could not be carried out."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    keeps_changes: ClassVar[bool] = False
    """The unit of work commits although this error is the answer (theft ends the session, and answers 401)."""
    headers: ClassVar[dict[str, str]] = {}

    def __init__(self, detail: str | None = None, *, headers: dict[str, str] | None = None, **extra: Any) -> None:
        super().__init__(detail or self.title())
        self.detail = detail or self.title()
        self.extra_headers = {**self.headers, **(headers or {})}
        self.extra = extra

    @classmethod
    def title(cls) -> str:
        return (cls.__doc__ or "").strip().splitlines()[0].rstrip(".")


# --- the request itself ---------------------------------------------------------------------------------------------


class BadRequest(AppError):
    """The request is not well formed."""

    status, code = 400, "bad_request"


class UnknownHost(AppError):
    """The Host header names no host of this service.

    The operator lists the hosts in ALLOWED_HOSTS.
    """

    status, code = 400, "unknown_host"


class NotFound(AppError):
    """There is nothing here."""

    status, code = 404, "not_found"


class MethodNotAllowed(AppError):
    """This path does not have this method.

    The Allow header names those that it has.
    """

    status, code = 405, "method_not_allowed"


class CrossOriginRefused(AppError):
    """A page of this origin may not make this request.

    The operator lists the origins in ALLOWED_ORIGINS.
    """

    status, code = 403, "cross_origin_refused"


class RequestTimeout(AppError):
    """The request's body did not arrive in time."""

    status, code = 408, "request_timeout"


class PayloadTooLarge(AppError):
    """The body is larger than 1 MiB."""

    status, code = 413, "payload_too_large"


class HeadTooLarge(AppError):
    """The request's head is too large: 64 KiB and 100 headers at most.

    The request line, with the path and the query, counts too.
    """

    status, code = 431, "head_too_large"


class UnsupportedMediaType(AppError):
    """The body's Content-Type or Content-Encoding is not one that this route reads.

    Send `application/json` (or a `+json` type), not compressed; forms only where the documentation names them.
    """

    status, code = 415, "unsupported_media_type"


class ValidationFailed(AppError):
    """The request does not fit what this route takes.

    `errors` names each place by a JSON pointer, with a detail and a code of its own.
    """

    status, code = 422, "validation_failed"

    def __init__(self, errors: list[dict[str, str]], detail: str | None = None) -> None:
        super().__init__(detail, errors=errors)

    @classmethod
    def at(cls, pointer: str, code: str, detail: str) -> "ValidationFailed":
        """One fault at one place."""
        return cls([{"pointer": pointer, "detail": detail, "code": code}])


class RateLimited(AppError):
    """Too many requests.

    Try again after the seconds in Retry-After. `RateLimit` and `RateLimit-Policy` say how much is allowed and left.
    """

    status, code = 429, "rate_limited"

    @classmethod
    def until(cls, seconds: float) -> "RateLimited":
        """Refused for so many seconds."""
        return cls(headers={"Retry-After": str(max(1, ceil(seconds)))})


class RequestInProgress(AppError):
    """A request with this Idempotency-Key is still running.

    Send it again in a moment: it is then answered as the first one was.
    """

    status, code = 409, "request_in_progress"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}


class InternalError(AppError):
    """Something went wrong on our side.

    The request id finds it in the logs.
    """

    status, code = 500, "internal_error"


class ServiceUnavailable(AppError):
    """The service cannot answer this at the moment.

    Try again after the seconds in Retry-After.
    """

    status, code = 503, "service_unavailable"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "2"}


class Maintenance(AppError):
    """The service is being looked after.

    Come back after the time that Retry-After says.
    """

    status, code = 503, "maintenance"

    @classmethod
    def until(cls, wait: float) -> "Maintenance":
        """One that tells to wait so many seconds."""
        return cls(headers={"Retry-After": str(ceil(wait))})


class PreconditionFailed(AppError):
    """It has been changed since it was read.

    `If-Match` names another revision than the one that holds. Read it again, then decide.
    """

    status, code = 412, "precondition_failed"


class Overloaded(AppError):
    """The service is asked for more than it can do now.

    Nothing was done. Try again after the seconds in Retry-After.
    """

    status, code = 503, "overloaded"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}


# --- who is asking --------------------------------------------------------------------------------------------------

_BEARER = {"WWW-Authenticate": "Bearer"}
_BAD_BEARER = {"WWW-Authenticate": 'Bearer error="invalid_token"'}


class NotAuthenticated(AppError):
    """This route needs an access token.

    Send it as `Authorization: Bearer …`.
    """

    status, code = 401, "not_authenticated"
    headers: ClassVar[dict[str, str]] = _BEARER


class InvalidAccessToken(AppError):
    """The access token is not valid, or not any more.

    It is malformed, expired, signed by a key that is not ours, or its session has ended.
    """

    status, code = 401, "invalid_access_token"
    headers: ClassVar[dict[str, str]] = _BAD_BEARER


class InvalidCredentials(AppError):
    """The email or the password is not right.

    The answer is the same for a wrong password, an unknown email and a disabled account.
    """

    status, code = 401, "invalid_credentials"
    headers: ClassVar[dict[str, str]] = _BEARER
    keeps_changes = True  # the audit of the attempt stands


class InvalidRefreshToken(AppError):
    """The refresh token is unknown or expired."""

    status, code = 401, "invalid_refresh_token"
    headers: ClassVar[dict[str, str]] = _BAD_BEARER


class RefreshTokenReused(AppError):
    """The refresh token was spent before, so its session has been ended.

    Somebody may have copied it. Sign in again.
    """

    status, code = 401, "refresh_token_reused"
    headers: ClassVar[dict[str, str]] = _BAD_BEARER
    keeps_changes = True


class SessionRevoked(AppError):
    """The session of this token has ended.

    Sign in again.
    """

    status, code = 401, "session_revoked"
    headers: ClassVar[dict[str, str]] = _BAD_BEARER


class CsrfFailed(AppError):
    """The refresh token's cookie was sent by a page that may not use it.

    A request that relies on the cookie needs `Sec-Fetch-Site: same-origin`, or an `Origin` of ALLOWED_ORIGINS.
    """

    status, code = 403, "csrf_failed"


class EmailNotVerified(AppError):
    """The account's email address has not been verified yet.

    Open the link in the mail that was sent to it.
    """

    status, code = 403, "email_not_verified"


class PermissionDenied(AppError):
    """The account lacks the permission that this route needs."""

    status, code = 403, "permission_denied"


class ReauthenticationRequired(AppError):
    """This needs a session that was signed in or re-authenticated within 15 minutes."""

    status, code = 403, "reauthentication_required"


class WrongPassword(AppError):
    """The password is not right."""

    status, code = 403, "wrong_password"
    keeps_changes = True  # the audit of the attempt stands


# --- accounts -------------------------------------------------------------------------------------------------------


class RegistrationClosed(AppError):
    """Nobody can register here now.

    `registration` in `GET /api/v1/config` says whether it is open, or by invitation.
    """

    status, code = 403, "registration_closed"


class InvitationNeeded(AppError):
    """Registering takes an invitation code, and this is none."""

    status, code = 403, "invitation_needed"


class EmailTaken(AppError):
    """An account with this email already exists."""

    status, code = 409, "email_taken"


class ExportExists(AppError):
    """An export of this account is being made, or stands ready.

    Its task says where to fetch it. It goes after 24 hours, and then another one can be asked for.
    """

    status, code = 429, "export_exists"


class LastAdmin(AppError):
    """The last admin cannot be demoted, disabled or deleted.

    Make another account an admin first.
    """

    status, code = 409, "last_admin"


class InvalidToken(AppError):
    """The token is unknown, expired or used.

    Ask for a new mail.
    """

    status, code = 400, "invalid_token"


class TaskFinished(AppError):
    """The task has ended.

    What has ended is not cancelled any more.
    """

    status, code = 409, "task_finished"


class TaskNotRetryable(AppError):
    """The task cannot be tried again as it stands.

    Only a task that failed or was cancelled can be, while no other one does the same.
    """

    status, code = 409, "task_not_retryable"


# --- event streams --------------------------------------------------------------------------------------------------


class TooManyStreams(AppError):
    """The account has too many event streams open, or the client has without one.

    One process keeps 20 for an account, and 50 for a client that does not say who it is. Close another one first.
    """

    status, code = 429, "too_many_streams"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "5"}


class StreamsFull(AppError):
    """No more event streams can be opened at the moment.

    Try again after the seconds in Retry-After, or ask for the state again and again meanwhile.
    """

    status, code = 503, "streams_full"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "5"}


def catalogue() -> dict[str, type[AppError]]:
    """Every error by its code, in the order of definition."""
    found: dict[str, type[AppError]] = {}
    todo = list(AppError.__subclasses__())
    while todo:
        error = todo.pop(0)
        found.setdefault(error.code, error)
        todo += error.__subclasses__()
    return found

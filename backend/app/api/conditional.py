"""Answers that a client may keep and ask for again (RFC 9110, section 13)."""

import hashlib

from fastapi import Request, Response


def etag(content: bytes) -> str:
    """A strong validator of these bytes."""
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def conditional(request: Request, content: bytes, media_type: str, cache_control: str, vary: str = "") -> Response:
    """`content` with its ETag; 304 without it when the client has it already."""
    tag = etag(content)
    headers = {"ETag": tag, "Cache-Control": cache_control, **({"Vary": vary} if vary else {})}
    if _has(request.headers.getlist("if-none-match"), tag):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)


def _has(given: list[str], tag: str) -> bool:
    """Whether If-None-Match names `tag`: compared weakly, as the RFC has it. None of our tags has a comma."""
    named = [part.strip().removeprefix("W/") for line in given for part in line.split(",")]
    return tag in named or "*" in named

"""The one list of what may be asked without a token. Everything else answers a stranger with 401."""

from typing import Any

V1 = "/api/v1"
STREAMS = frozenset({f"GET {V1}/config/stream"})
"""Of these, what does not end by itself."""
PUBLIC = frozenset(
    {
        # accounts
        f"POST {V1}/auth/register",
        f"POST {V1}/auth/login",
        f"POST {V1}/auth/token",
        f"POST {V1}/auth/revoke",
        f"POST {V1}/auth/verify-email",
        f"POST {V1}/auth/verify-email/resend",
        f"POST {V1}/auth/verify-email/undo",
        f"POST {V1}/auth/password/forgot",
        f"POST {V1}/auth/password/reset",
        # the service
        f"GET {V1}/health",
        f"GET {V1}/health/ready",
        f"GET {V1}/config",
        "POST /ofrep/v1/evaluate/flags",
        "POST /ofrep/v1/evaluate/flags/{key}",
        f"GET {V1}/metrics",  # in production it asks for a token of its own
        *STREAMS,
        # for programs
        "GET /.well-known/jwks.json",
        "GET /.well-known/oauth-authorization-server",
        "GET /.well-known/change-password",
        "GET /.well-known/security.txt",
        # for people
        "GET /problems",
        "GET /problems/{code}",
        "GET /account/verify",
        "GET /account/forgot",
        "GET /account/page.css",
        "GET /account/forgot.js",
        "GET /account/verify.js",
        "GET /account/link.js",
        "GET /account/reset",
        "GET /account/reset.js",
        "GET /account/undo",
        "GET /account/undo.js",
        "GET /openapi.json",
        "GET /docs",
        "GET /docs/docs.js",
        "GET /docs/favicon.png",
        "GET /docs/swagger-ui.css",
        "GET /docs/swagger-ui-bundle.js",
        "GET /redoc",
        "GET /redoc/redoc.standalone.js",
    }
)


def lists(document: dict[str, Any]) -> list[str]:
    """The paths of the OpenAPI document whose GET answers a page of items."""
    schemas = document["components"]["schemas"]

    def is_list(operation: dict[str, Any]) -> bool:
        answer = operation["responses"].get("200", {}).get("content", {}).get("application/json", {}).get("schema", {})
        named = schemas.get(str(answer.get("$ref", "")).rpartition("/")[2], answer)
        return {"items", "next_cursor"} <= named.get("properties", {}).keys()

    return [path for path, operations in document["paths"].items() if is_list(operations.get("get", {"responses": {}}))]

"""The OpenAPI document tells what the service does."""

import pytest
from fastapi.routing import iter_route_contexts
from httpx2 import AsyncClient

from app.api.openapi import codes_of
from app.core.errors import catalogue

pytestmark = [pytest.mark.any_database, pytest.mark.any_server]

EVERYWHERE = {
    "bad_request", "unknown_host", "payload_too_large", "head_too_large", "validation_failed", "internal_error",
    "service_unavailable",
}  # fmt: skip
NO_OPERATION = {"not_found", "method_not_allowed", "cross_origin_refused"}
"""Codes of requests that reach no operation."""


@pytest.fixture
async def document(client: AsyncClient):
    return (await client.get("/openapi.json")).json()


def operations(document):
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def codes(operation):
    return {code for response in operation["responses"].values() for code in codes_of(response)}


async def test_every_operation_tells_the_codes_that_any_request_may_get(document):
    for name, operation in operations(document):
        assert codes(operation) >= EVERYWHERE, name
        if "requestBody" in operation:
            assert codes(operation) >= {"request_timeout", "unsupported_media_type"}, name
        if operation.get("security"):
            assert codes(operation) >= {"not_authenticated", "invalid_access_token", "session_revoked"}, name


async def test_every_code_belongs_to_its_status_and_to_an_operation(document):
    seen = set()
    for name, operation in operations(document):
        for status, response in operation["responses"].items():
            assert response["description"], name
            for code in codes_of(response):
                assert str(catalogue()[code].status) == status, (name, code)
                seen.add(code)
    assert set(catalogue()) - seen <= NO_OPERATION


async def test_every_operation_is_named_and_grouped(document):
    groups = {tag["name"] for tag in document["tags"]}
    for name, operation in operations(document):
        assert operation["summary"], name
        assert operation["description"], name
        assert set(operation["tags"]) <= groups, name
        assert operation["tags"], name


async def test_the_authorize_button_finds_the_token_endpoint(document):
    schemes = document["components"]["securitySchemes"]
    url = schemes["OAuth2PasswordBearer"]["flows"]["password"]["tokenUrl"]
    assert "post" in document["paths"][url]
    assert schemes["bearer"]["scheme"] == "bearer"
    assert document["servers"] == [{"url": "/"}]


async def test_nothing_of_fastapis_own_errors_is_left(document):
    assert "HTTPValidationError" not in document["components"]["schemas"]
    for name, operation in operations(document):
        assert set(operation["responses"]["422"]["content"]) == {"application/problem+json"}, name


async def test_every_route_of_the_api_is_strict(app):
    from app.api.strict import StrictRoute

    for route in iter_route_contexts(app.routes):
        if (route.path or "").startswith("/api/"):
            assert isinstance(route.original_route, StrictRoute), route.path


async def test_a_refresh_token_alone_is_enough_to_log_out(document):
    security = document["paths"]["/api/v1/auth/logout"]["post"]["security"]
    assert {} in security
    assert {"bearer": []} in security


async def test_a_stream_is_documented_as_one(document):
    told = document["paths"]["/api/v1/tasks/{id}/events"]["get"]
    assert set(told["responses"]["200"]["content"]) == {"text/event-stream"}
    assert "content" not in told["responses"]["204"]
    assert {"too_many_streams", "streams_full"} <= codes(told)
    assert "Last-Event-ID" in {parameter["name"] for parameter in told["parameters"]}

"""What OFREP publishes of its two calls, as an OpenAPI document.

Paths, names, types and what is required are those of the protocol, version 0.2.0 (github.com/open-feature/protocol,
service/openapi.yaml). One thing differs: a whole number is an integer and a number, so that `oneOf` of the kinds of
values, as it stands there, fits none.
"""

from typing import Any

TEXT = {"type": "string"}
CONTEXT = {"type": "object", "properties": {"targetingKey": TEXT}, "required": ["targetingKey"]}
REQUEST = {"type": "object", "properties": {"context": CONTEXT}, "required": ["context"]}
VALUES = ("boolean", "string", "integer", "number", "object")
SUCCESS = {
    "type": "object",
    "properties": {
        "key": TEXT,
        "reason": TEXT,
        "variant": TEXT,
        "metadata": {"type": "object", "additionalProperties": {"type": ["boolean", "string", "number"]}},
        "value": {"anyOf": [{"type": kind} for kind in VALUES]},
    },
    "required": ["key", "value"],
}


def failure(*codes: str, keyed: bool = True) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"key": TEXT, "errorCode": {"type": "string", "enum": list(codes)}, "errorDetails": TEXT},
        "required": ["key", "errorCode"] if keyed else ["errorCode"],
    }


UNREADABLE = ("PARSE_ERROR", "TARGETING_KEY_MISSING", "INVALID_CONTEXT", "GENERAL")


def answer(schema: dict[str, Any] | None = None) -> dict[str, Any]:
    content = {"content": {"application/json": {"schema": schema}}} if schema else {}
    return {"description": "as the protocol has it", **content}


def call(parameters: list[dict[str, Any]], responses: dict[str, Any]) -> dict[str, Any]:
    refused = {status: answer() for status in ("401", "403", "429", "500")}
    body = {"required": True, "content": {"application/json": {"schema": REQUEST}}}
    return {"post": {"parameters": parameters, "requestBody": body, "responses": {**responses, **refused}}}


def document(key: str) -> dict[str, Any]:
    """The protocol's document; `key` is one that there is."""
    of_key = {"name": "key", "in": "path", "required": True, "schema": TEXT, "examples": {"known": {"value": key}}}
    known = {"name": "If-None-Match", "in": "header", "required": False, "schema": TEXT}
    many = {"type": "object", "properties": {"flags": {"type": "array", "items": SUCCESS}}, "required": ["flags"]}
    return {
        "openapi": "3.1.0",
        "info": {"title": "OFREP", "version": "0.2.0"},
        "paths": {
            "/ofrep/v1/evaluate/flags": call(
                [known], {"200": answer(many), "304": answer(), "400": answer(failure(*UNREADABLE, keyed=False))}
            ),
            "/ofrep/v1/evaluate/flags/{key}": call(
                [of_key],
                {
                    "200": answer(SUCCESS),
                    "400": answer(failure(*UNREADABLE)),
                    "404": answer(failure("FLAG_NOT_FOUND")),
                },
            ),
        },
    }

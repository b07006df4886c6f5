"""Whether a route still is what its short way knows: what a product adds to one holds for everybody who asks it."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fastapi import APIRouter
from fastapi.datastructures import DefaultPlaceholder
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from app.api.limits import Limit

_SHORTENED = ("include", "exclude", "exclude_unset", "exclude_defaults", "exclude_none")


@dataclass(frozen=True, eq=False)
class Known:
    """A route, and what a short way does of what it asks for: its dependencies, its limits, what its endpoint takes."""

    router: APIRouter
    path: str
    method: str
    depends: Collection[Callable[..., Any]]
    limits: tuple[str, ...]
    takes: Mapping[str, Any]
    headers: Collection[str] = ()
    """Headers and cookies that send a request on by the usual way."""
    answers: Any = None
    """Its response model, where the short way does not ask the route for it."""

    @lru_cache(maxsize=8)  # noqa: B019 - there are four, for as long as the process
    def route(self) -> APIRoute | None:
        """The route; None where it asks for anything else, and all are to go the usual way."""
        for route in self.router.routes:
            if isinstance(route, APIRoute) and route.path == self.path and self.method in (route.methods or ()):
                return route if self.knows(route) else None
        return None

    def knows(self, route: APIRoute) -> bool:
        """Whether there is nothing else to what `route` depends on, takes and answers."""
        every = list(_all_of(route.dependant))
        asked = {one.call for one in every[1:]}
        rules = [call.rule for call in asked if isinstance(call, Limit)]
        shortened = [getattr(route, f"response_model_{how}") for how in _SHORTENED]
        taken = [p for one in every for p in (*one.path_params, *one.query_params)]
        named = {p.alias for p in (*route.dependant.header_params, *route.dependant.cookie_params)}
        return (
            {call for call in asked if not isinstance(call, Limit)} <= set(self.depends)
            and sorted(rules) == sorted(self.limits)
            and not taken
            and not any(shortened)
            and named == set(self.headers)
            and self.answers in (None, route.response_model)
            and isinstance(route.response_class, DefaultPlaceholder)
            and {name: kind for name, kind in route.endpoint.__annotations__.items() if name != "return"} == self.takes
        )


def _all_of(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for one in dependant.dependencies:
        yield from _all_of(one)

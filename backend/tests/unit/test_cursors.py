"""A cursor leads on in the list that made it, and nowhere else."""

import pytest

from app.core.errors import ValidationFailed
from app.core.sql import new_id
from app.schemas.pages import Window

LIST, OTHER = "/api/v1/users/me/sessions", "/api/v1/tasks"


def test_a_cursor_leads_to_what_follows_the_last_row():
    last = new_id()
    assert Window.at(LIST, 20, Window(LIST).cursor(last)).before == last
    assert Window.at(LIST, 20, None).before is None


@pytest.mark.parametrize(
    "alter",
    [
        lambda c: c[:-1] + ("A" if c[-1] != "A" else "Q"),
        lambda c: ("A" if c[0] != "A" else "B") + c[1:],
        lambda c: c + "=",
        lambda c: c + "\n",
        lambda c: " " + c,
        lambda c: c + c,
        lambda c: c[:20],
        lambda _: "",
        lambda _: "ü",
        lambda _: "0190163d-8694-739b-aea5-966c26f8ad91",
    ],
)
def test_an_altered_cursor_is_refused(alter):
    with pytest.raises(ValidationFailed) as refused:
        Window.at(LIST, 20, alter(Window(LIST).cursor(new_id())))
    assert refused.value.extra["errors"][0]["pointer"] == "/query/cursor"


def test_a_cursor_of_another_list_is_refused():
    with pytest.raises(ValidationFailed):
        Window.at(OTHER, 20, Window(LIST).cursor(new_id()))

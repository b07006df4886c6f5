"""Declared settings and flags: their types and bounds, and what a rule says of whom."""

from collections.abc import Iterator
from datetime import timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from app.core import dynamic, kinds
from app.core.dynamic import ANYBODY, Caller, Flag, Visibility
from app.core.permissions import Role
from app.core.sql import new_id


class Colour(StrEnum):
    red = "red"
    blue = "blue"


class Size(BaseModel):
    width: int
    height: int = 1


@pytest.fixture(autouse=True)
def nothing_declared() -> Iterator[None]:
    before = dict(dynamic.DECLARED)
    dynamic.DECLARED.clear()
    yield
    dynamic.DECLARED.clear()
    dynamic.DECLARED.update(before)
    dynamic.use({})


def declare_all() -> dict[str, dynamic.Setting[Any]]:
    made = (
        kinds.boolean("a_bool", "", default=True),
        kinds.integer("an_int", "", default=5, ge=1, le=10),
        kinds.number("a_float", "", default=0.5, ge=0, le=1),
        kinds.string("a_string", "", default="x", max_length=5, pattern="^[a-z]*$"),
        kinds.choice("an_enum", "", default=Colour.red),
        kinds.duration("a_duration", "", default=timedelta(minutes=1), ge=timedelta(0), le=timedelta(hours=1)),
        kinds.document("a_document", "", default=Size(width=3)),
        Flag("a_flag", ""),
    )
    return {one.key: one for one in made}


class Free(BaseModel):
    anything: Any = None


FITTING: list[tuple[str, Any, Any]] = [
    ("a_bool", False, False),
    ("an_int", 10, 10),
    ("a_float", 1, 1.0),
    ("a_string", "abcde", "abcde"),
    ("an_enum", "blue", Colour.blue),
    ("a_duration", 90.5, timedelta(seconds=90.5)),
    ("a_document", {"width": 7}, Size(width=7)),
    ("a_flag", True, True),
]
UNFIT: list[tuple[str, Any]] = [
    ("a_bool", 1), ("a_bool", "true"), ("a_bool", None),
    ("an_int", 0), ("an_int", 11), ("an_int", 5.5), ("an_int", "5"), ("an_int", True),
    ("a_float", 1.5), ("a_float", "0.5"), ("a_float", None),
    ("a_string", "abcdef"), ("a_string", "A"), ("a_string", 5),
    ("an_enum", "green"), ("an_enum", None),
    ("a_duration", -1), ("a_duration", 3601), ("a_duration", "1m"),
    ("a_document", {}), ("a_document", []), ("a_document", "x"), ("a_document", {"width": "7"}),
    ("a_document", {"width": True}), ("a_document", {"width": 7.0}),
    ("a_flag", 1), ("a_flag", "on"), ("a_flag", {"percentage": 101}), ("a_flag", {"percentage": "5"}),
    ("a_flag", {"roles": ["nobody"]}), ("a_flag", {"users": ["x"]}), ("a_flag", {"more": 1}), ("a_flag", None),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value", "read"), FITTING, ids=str)
def test_a_value_is_read_as_what_it_was_declared(key: str, value: Any, read: Any) -> None:
    setting = declare_all()[key]
    default = setting()
    assert dynamic.use({key: value}) == []
    assert setting() == read
    assert type(setting()) is type(read)
    dynamic.use({})
    assert setting() == default


@pytest.mark.parametrize(("key", "value"), UNFIT, ids=str)
def test_a_value_that_does_not_fit_is_refused_and_never_served(key: str, value: Any) -> None:
    setting = declare_all()[key]
    with pytest.raises(ValidationError):
        setting.normal(value)
    assert dynamic.use({key: value}) == [key]
    assert setting.served == setting.default


@pytest.mark.parametrize(
    ("key", "value", "served"),
    [("a_float", 1, 1.0), ("a_duration", 5, 5.0), ("a_flag", {"percentage": 20}, {"percentage": 20.0})],
)
def test_a_value_is_served_as_its_declared_type(key: str, value: Any, served: Any) -> None:
    setting = declare_all()[key]
    assert dynamic.use({key: value}) == []
    assert (setting.served, repr(setting.served)) == (served, repr(served))


@pytest.mark.parametrize("value", ["a\0b", "\ud800", float("nan"), float("inf"), [[]] * 2, ["\udfff"]], ids=repr)
def test_what_no_client_could_read_is_refused(value: Any) -> None:
    deep: Any = 1
    for _ in range(33):
        deep = [deep]
    setting = kinds.document("free", "", default=Free())
    fits = value == [[]] * 2
    assert dynamic.use({"free": {"anything": value}}) == ([] if fits else ["free"])
    assert dynamic.use({"free": {"anything": deep}}) == ["free"]
    assert setting.served == {"anything": None}


def test_what_nobody_declares_is_told_and_not_served() -> None:
    declare_all()
    assert dynamic.use({"a_relic": 1}) == ["a_relic"]
    assert "a_relic" not in dynamic.visible(Caller(uuid4()))


def test_a_key_is_declared_once() -> None:
    Flag("twice", "")
    with pytest.raises(ValueError, match="twice is declared twice"):
        Flag("twice", "")


def test_each_sees_what_is_visible_to_them() -> None:
    for visibility in Visibility:
        Flag(f"for_{visibility}", "", visibility=visibility)
    assert dynamic.visible(ANYBODY) == {"for_public": False}
    assert dynamic.visible(Caller(uuid4(), frozenset(Role))) == {"for_public": False, "for_user": False}


def test_a_rule_is_for_roles_accounts_and_a_part() -> None:
    flag, chosen = Flag("ruled", ""), uuid4()
    flag.use({"roles": ["support"], "users": [str(chosen)]})
    assert flag(Caller(chosen))
    assert flag(Caller(uuid4(), frozenset({"support"})))
    assert not flag(Caller(uuid4(), frozenset({"user"})))
    assert not flag(ANYBODY)
    flag.use({"percentage": 100})
    assert flag(ANYBODY)
    assert flag(Caller(uuid4()))
    flag.use({"percentage": 0})
    assert not flag(Caller(uuid4()))


@pytest.mark.no_cover
def test_a_percentage_is_that_part_of_the_accounts_and_each_stays_where_it_is() -> None:
    flag, other = Flag("part", ""), Flag("another", "")
    accounts = [new_id() for _ in range(100_000)]
    on: dict[float, set[UUID]] = {}
    for percentage in (0.5, 10, 20, 50, 99):
        flag.use({"percentage": percentage})
        on[percentage] = {one for one in accounts if flag(Caller(one))}
        assert abs(len(on[percentage]) / 1_000 - percentage) < 1
        assert on[percentage] == {one for one in accounts if flag(Caller(one))}
    assert on[0.5] < on[10] < on[20] < on[50] < on[99]
    other.use({"percentage": 10})
    both = {one for one in accounts if other(Caller(one))} & on[10]
    assert abs(len(both) / 1_000 - 1) < 1, "another flag is on for others"


rules = st.fixed_dictionaries(
    {},
    optional={
        "roles": st.lists(st.sampled_from(list(Role))),
        "users": st.lists(st.uuids(), max_size=5),
        "percentage": st.floats(0, 100),
    },
)
callers = st.builds(Caller, st.none() | st.uuids(), st.frozensets(st.text(max_size=8) | st.sampled_from(list(Role))))


@given(rule=st.booleans() | rules, caller=callers, more=st.floats(0, 100))
@settings(max_examples=300, deadline=None)
def test_a_rule_never_raises_and_more_percent_takes_nobody_out(rule: Any, caller: Caller, more: float) -> None:
    dynamic.DECLARED.clear()
    flag = Flag("any", "")
    if isinstance(rule, dict):  # as it comes in JSON
        rule = {**rule, **{name: [str(one) for one in rule[name]] for name in ("roles", "users") if name in rule}}
    flag.use(rule)
    before = flag(caller)
    assert before is flag(caller)
    if isinstance(rule, dict) and more >= rule.get("percentage", 0):
        flag.use({**rule, "percentage": more})
        assert flag(caller) or not before

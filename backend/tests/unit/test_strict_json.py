import pytest

from app.api.strict import parse
from app.core.errors import ValidationFailed


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "json_invalid"),
        (b"{}x", "json_invalid"),
        (b"[1,]", "json_invalid"),
        (b"{'a': 1}", "json_invalid"),
        (b"NaN", "json_invalid"),
        (b"[-Infinity]", "json_invalid"),
        (b'{"a": 1e400}', "number_out_of_range"),
        (b"-1e999", "number_out_of_range"),
        (b"9" * 5000, "json_invalid"),
        (b"\xef\xbb\xbf{}", "json_invalid"),
        ('{"a": 1}'.encode("utf-16"), "json_invalid"),
        ('{"a": 1}'.encode("utf-32"), "json_invalid"),
        (b'"\xff"', "json_invalid"),
        (b'"\xed\xa0\x80"', "json_invalid"),
        (b'"\\ud800"', "json_invalid"),
        (b'{"\\udc00": 1}', "json_invalid"),
        (b'"a\x00"', "json_invalid"),
        (b'["a\\u0000"]', "nul_character"),
        (b'{"a\\u0000": 1}', "nul_character"),
        (b'{"a": 1, "a": 2}', "duplicate_key"),
        (b'{"b": [{"a": 1, "\\u0061": 2}]}', "duplicate_key"),
        (b"[" * 33 + b"]" * 33, "json_too_deep"),
        (b'{"a":' * 33 + b"1" + b"}" * 33, "json_too_deep"),
        (b"[" * 100_000, "json_too_deep"),
        (b"[" * 100_000 + b"]" * 100_000, "json_too_deep"),
    ],
)
def test_what_is_not_strict_json_is_refused_and_not_repeated(body, code):
    with pytest.raises(ValidationFailed) as raised:
        parse(body)
    (fault,) = raised.value.extra["errors"]
    assert (fault["pointer"], fault["code"]) == ("", code)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": [1, -2.5, true, null, "\xc3\xa9"]}', {"a": [1, -2.5, True, None, "é"]}),
        (b'"\\ud83d\\ude00"', "😀"),
        (b'"\\\\u0000"', "\\u0000"),
        (b"[" * 32 + b"1" + b"]" * 32, None),
        (b"1e308", 1e308),
    ],
)
def test_strict_json_passes(body, value):
    assert parse(body) == value or value is None


@pytest.mark.parametrize("filling", [b"0,", b"[],", b'"",', b"0.1,"])
def test_a_mebibyte_of_small_values_is_read(filling):
    count = 2**20 // len(filling)
    assert len(parse(b"[" + filling * count + b"0]")) == count + 1

"""Addresses in the midst of texts and documents, in the odd forms that they come in."""

import json

import pytest
import sqlalchemy as sa
from sqlmodel import AutoString

from app.tools.copying.lines import Lines, escaped, plain
from app.tools.copying.masks import Masks

SECRET = "corp-real"
TEXTS = [
    "bob@corp-real.com",
    "Hi,\nbob@corp-real.com. Bye",
    "tab\tbob@corp-real.com",
    "back\\bob@corp-real.com",
    "https://x.test/?e=bob%40corp-real.com&y=1",
    "bob%2540corp-real.com",
    "%62ob%40corp-real.com",
    "user%40ex%C3%A4mple.corp-real.de",
    '"quoted" <bob@corp-real.com>',
    '"bob"@corp-real.com',
    "bob＠corp-real.com",
    "bob&#64;corp-real.com",
    "é\u0301x@corp-real.com",
    "a@b.com@corp-real.com",
    "BOB@CORP-REAL.com,al@corp-real.com",
    r"x\u0040corp-real.com",
]


def masked(text: str, kind: sa.types.TypeEngine[object]) -> str:
    table = Lines(sa.Table("things", sa.MetaData(), sa.Column("note", kind)))
    [line] = Masks(table).put([escaped(text).encode()])
    return plain(line.decode())


@pytest.mark.parametrize("text", TEXTS)
def test_no_address_is_left_in_a_text_or_a_document(text: str) -> None:
    assert SECRET not in masked(text, AutoString()).lower()
    for document in ({"a": text}, {text: [1, 0.50, None]}, [text, {"b": {text: text}}]):
        for written in (json.dumps(document), json.dumps(document, ensure_ascii=False)):
            fake = masked(written, sa.JSON())
            assert SECRET not in json.dumps(json.loads(fake)).lower()


def test_what_is_around_an_address_stays() -> None:
    fake = masked("bob@corp-real.com", AutoString())
    assert masked("Hi,\n\tBOB@corp-real.com. Bye \\n", AutoString()) == f"Hi,\n\t{fake}. Bye \\n"
    assert masked("https://x.test/?e=bob%40corp-real.com&y=1", AutoString()) == f"https://x.test/?e={fake}&y=1"
    assert masked("no address: 5 % off, a = b", AutoString()) == "no address: 5 % off, a = b"


def test_a_document_keeps_its_numbers_and_all_of_its_keys() -> None:
    said = '{"bob@corp-real.com": 1e400, "BOB@corp-real.com": 0.10, "n": [12345678901234567890123, -0.0, true, null]}'
    fake = json.loads(masked(said, sa.JSON()), parse_float=str, parse_int=str)
    assert len(fake) == 3
    assert list(fake.values()) == ["1E+400", "0.10", ["12345678901234567890123", "-0.0", True, None]]


def test_a_text_with_fakes_fits_its_column() -> None:
    assert len(masked("a@b.cc d@e.ff g@h.ii", AutoString(length=40))) == 40

"""JSON of all encodings comes back; what becomes too large is refused before it is parsed."""

import pytest

from pointrecon.utils.errors import InputError
from pointrecon.utils.files.io import read_json
from pointrecon.utils.files.json_text import JsonError, parse_json, parse_json_lines, read_json_lines

VALUE = {"a": [1, None, "ü\u2028"], "b": {}}
TEXT = '{"a": [1, null, "ü\u2028"], "b": {}}'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_marks_of_the_byte_order_are_no_damage(tmp_path, encoding):
    mark = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}.get(encoding, b"")
    (tmp_path / "a.json").write_bytes(mark + TEXT.encode(encoding))
    assert read_json(tmp_path / "a.json") == VALUE == parse_json(TEXT)


@pytest.mark.parametrize("text", ["", "{", b"\xff\xfea", b"\x80", "[" * 100_000, "9" * 10_000])
def test_what_is_no_json(text):
    with pytest.raises(JsonError):
        parse_json(text)


@pytest.mark.parametrize("part", ["[],", "{},", '{"a":1},', "[1],", '"ab",', "1,", "[[]],"])
def test_what_becomes_too_large_is_refused(tmp_path, part, assert_refused):
    """60 MB of it become up to 1.5 GB of objects."""
    (tmp_path / "a.json").write_text("[" + part * ((60 << 20) // len(part)) + "0]")
    assert_refused(tmp_path / "a.json", read_json, "bytes of objects")
    assert_refused(tmp_path / "a.json", read_json_lines, "bytes of objects")


def test_lines(tmp_path):
    data = b"\xef\xbb\xbf" + f"{TEXT}\n\n[1]\r\n".encode()
    assert parse_json_lines(data) == [VALUE, [1]] and parse_json_lines(b"") == []
    (tmp_path / "a.jsonl").write_bytes(data)
    assert read_json_lines(tmp_path / "a.jsonl") == [VALUE, [1]]
    (tmp_path / "a.jsonl").write_bytes(data + b"{")
    with pytest.raises(InputError, match=r"a\.jsonl' has a line that is not valid JSON"):
        read_json_lines(tmp_path / "a.jsonl")
    with pytest.raises(InputError, match=r"b\.jsonl' cannot be read"):
        read_json_lines(tmp_path / "b.jsonl")

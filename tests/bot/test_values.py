"""Values that nobody vouches for: JSON from outside, texts with invisible signs, names in the names of objects."""

from __future__ import annotations

from typing import Any

import pytest

from bot import values


@pytest.mark.parametrize("text", ["", "{", "你好", "[" * 100_000, b"\xff"])
def test_text_that_is_no_json_is_none(text: str | bytes) -> None:
    """Nor is what is nested so deep that it cannot be read."""
    assert values.read_json(text) is None


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"a": "1", "b": "2"}, "1"),
        ({"a": "", "b": "2"}, "2"),
        ({"a": 5, "b": "2"}, "2"),
        ({"a": None}, ""),
        ({"a": "\ud83d"}, "\ufffd"),
    ],
)
def test_first_text_of_several_fields_is_found(fields: dict[str, Any], found: str) -> None:
    """What is empty, or no text, is passed over; half a sign is replaced."""
    assert values.first_text(fields, "a", "b") == found


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b" \n ", []),
        (b'\xef\xbb\xbf{"a": 1}', [{"a": 1}]),
        (b'data: {"a": 1}\n\ndata:{"a": 2}\n\ndata: [DONE]\n', [{"a": 1}, {"a": 2}]),
        (b'{"a": 1}\n[DONE]', [{"a": 1}]),
        (b": wait\nevent: x\nid: 1\nretry: 5\ndata: 1\n", [1]),
        (b'data: {"a":\n 1}\n', [{"a": 1}]),
        (b"data: {\ndata: null\n", ["{", None]),
        ("你好".encode(), ["你好"]),
        (b"[" * 100_000, ["[" * 100_000]),
    ],
)
def test_body_is_read_by_its_parts(body: bytes, found: list[Any]) -> None:
    """One value, or the data of its events, without what only the stream needs; what is no JSON is words."""
    assert values.values_in(body) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('Error: {"code": 1} at 5', (7, {"code": 1})),
        ("Error: {'code': None}", (7, {"code": None})),
        ("Error: {code}", (13, None)),
        ("no more", (7, None)),
    ],
)
def test_json_in_a_text_is_found_with_its_place(text: str, found: tuple[int, Any]) -> None:
    """As services write it, and as Python does."""
    assert values.packed_json(text) == found


@pytest.mark.parametrize(("name", "part"), [("a/../b", "a%2F%2E%2E%2Fb"), ("小", "%E5%B0%8F"), ("x" * 400, "x" * 400)])
def test_name_is_one_harmless_part_of_a_key(name: str, part: str) -> None:
    """It leaves no folder, and names no other."""
    assert values.percent_encoded(name) == part


def test_long_name_becomes_its_digest() -> None:
    """The names of objects end at 1,023 bytes."""
    one, other = values.percent_encoded("x" * 401), values.percent_encoded("x" * 402)
    assert len(one) == 65 and one.startswith("=") and one != other

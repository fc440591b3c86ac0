"""Values that nobody vouches for: JSON from outside, texts with invisible signs, names in the names of objects."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote


def read_json(data: str | bytes) -> Any:
    """What a text is the JSON of, None if it is none."""
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(data)
    return None


def json_in(value: Any) -> Any:
    """The object or list that a value is, itself or as JSON in a text; None if it is neither."""
    value = read_json(value) if isinstance(value, str) else value
    return value if isinstance(value, (dict, list)) else None


def text_in(fields: dict[str, Any], name: str) -> str | None:
    """The field if it is a text, see encodable."""
    value = fields.get(name)
    return encodable(value) if isinstance(value, str) else None


def first_text(fields: dict[str, Any], *names: str) -> str:
    """The first of these fields that is a text with anything in it, see encodable; '' if none is."""
    return next(filter(None, (text_in(fields, name) for name in names)), "")


def encodable(text: str) -> str:
    """The text with half a surrogate pair, which JSON can hold but UTF-8 cannot, replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def first_object(value: Any) -> dict[str, Any]:
    """A JSON object, or the first one of a list; an empty one if there is none."""
    if isinstance(value, list) and value:
        value = value[0]
    return value if isinstance(value, dict) else {}


# In an event stream: what is no data, and what is in front of an event's.
# https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
NO_DATA = re.compile(r"^[ \t]*(?::|event:|id:|retry:).*", re.MULTILINE)
DATA = re.compile(r"^[ \t]*(?:data:[ \t]*)?\[DONE\][ \t\r]*$|^[ \t]*data:", re.MULTILINE)
# Each may begin a value, which takes up to 250 bytes of memory; 16 MB of chunks, a token in each, have 1.5 million. Of
# what has more, so many characters are read.
SEPARATORS, MOST_SEPARATORS, MOST_CHARACTERS = ",{[\n", 1_600_000, 1_000_000


def values_in(content: bytes) -> list[Any]:
    """What a body is made of, itself or the data of its events: JSON values, texts that are none; [] if it is blank.

    Services send events although none were asked for: chunks, or whole answers, or an answer and '[DONE]' behind it.
    """
    text = content.decode("utf-8-sig", "replace")
    if sum(map(text.count, SEPARATORS)) > MOST_SEPARATORS:
        text = text[:MOST_CHARACTERS]
    whole = read_json(text)
    if whole is not None:
        return [whole]
    values: list[Any] = []
    for frame in DATA.split(NO_DATA.sub("", text)):
        try:
            values += [json.loads(frame)] if frame.strip() else []
        except (ValueError, RecursionError):  # it broke off, or is words
            values.append(frame.strip())
    return values


MOST_LEVELS = 20  # of JSON are looked at


def walk(value: Any, skipped: re.Pattern[str], path: tuple[str | int, ...] = ()) -> Iterator[tuple[Any, Any]]:
    """A JSON value and all values in it, in their order, each with its path; a list counts from 1.

    {"a": ["b"]} -> ((), {"a": ["b"]}), (("a",), ["b"]), (("a", 1), "b"). Fields in whose names `skipped` is found are
    left out.
    """
    yield path, value
    inner: Iterable[tuple[str | int, Any]] = ()
    if isinstance(value, dict):
        inner = ((name, part) for name, part in value.items() if not skipped.search(name))
    elif isinstance(value, list):
        inner = enumerate(value, 1)
    for step, part in inner if len(path) < MOST_LEVELS else ():
        yield from walk(part, skipped, (*path, step))


def packed_json(text: str) -> tuple[int, Any]:
    """Where JSON begins in a text, and what it is: 'Error: {"code": 1}' -> 7, {'code': 1}; its length, None without.

    Relays in Python also write {'code': None}.
    """
    start = text.find("{")
    if start >= 0:
        with contextlib.suppress(ValueError, RecursionError):
            return start, json.JSONDecoder().raw_decode(text, start)[0]
        with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):  # it only looks like JSON
            return start, ast.literal_eval(text[start : text.rfind("}") + 1][:4000])
    return len(text), None


def percent_encoded(name: str) -> str:
    """A name as one harmless part of an object's name; those end at 1,023 bytes, so a long one becomes its digest."""
    text = quote(name, safe="").replace(".", "%2E")
    return text if len(text) <= 400 else "=" + hashlib.sha256(name.encode()).hexdigest()


def digest(text: str) -> str:
    """A text as 16 hexadecimal digits, by which it is recognised."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


INVISIBLE = "\u00ad\u180e\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\ufeff"  # zero-width blanks
BLANKS = INVISIBLE + "".join(filter(str.isspace, map(chr, range(0x3001))))  # what comes along when a value is pasted

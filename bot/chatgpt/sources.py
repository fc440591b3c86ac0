"""The pages that an answer was made from, which services name beside its words."""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from bot import sentences
from bot.values import first_object

MOST_SOURCES, MOST_TITLE_CHARACTERS = 8, 60  # are shown
MOST_PAGES, MOST_LOOKS, MOST_ENTRIES = 40, 20_000, 1000  # are read: pages, values of the JSON, entries of one list
MOST_ADDRESS_CHARACTERS = 1000  # a longer one is left out
PAGE = re.compile(r"https?://[\w.-]+(?::\d{1,5})?(?:[/?#][^\s<>\"\\`]*)?")
ADDRESS_FIELD = re.compile(r"(?:\w{1,20}_)?(?:url|uri|link|href|source)", re.IGNORECASE)
TITLE_FIELDS = ("title", "name", "site_name", "media")
NO_PAGES = re.compile(  # fields whose addresses are something else
    r"image|icon|logo|picture|photo|thumb|avatar|video|audio|tool|input|prompt|logprob|reasoning", re.IGNORECASE
)
HARMLESS = str.maketrans("[]<>`*\\|~", "【】＜＞'＊＼｜～")  # in a title, what would be Markdown or HTML
# By these, words refer to a place in the service's list of pages.
NUMBERS = re.compile(r"\[\^?(?:citation:|ref_)?\d{1,2}\^?\](?![(\]])|【\d{1,2}")
FORWARDED = re.compile(r"(?<=[?&])utm_\w{1,20}=[^&#]*&?")


class Page(NamedTuple):
    """A source: its place in the service's list, from 1, its address and its title, '' if it has none."""

    number: int
    url: str
    title: str


def sources_below(completion: dict[str, Any], words: str) -> str:
    """The pages as Markdown, to stand below the words; '' if there are none that the words do not have already."""
    pages = pages_in(completion)
    if not pages:
        return ""
    plain = unquote(words)
    pages = [page for page in pages if not stands_in(plain, page.url)][:MOST_SOURCES]
    numbered = NUMBERS.search(words) is not None
    lines = [f"{mark_of(page.number) if numbered else '-'} [{label_of(page)}]({link_to(page.url)})" for page in pages]
    return "\n".join([sentences.SOURCES, *lines]) if lines else ""


def pages_in(completion: dict[str, Any]) -> list[Page]:
    """The pages that are named beside the words, each once, by what they are: addresses in a list, with titles or not.

    Services have many names for it: annotations, citations, search_results, web_search, references, groundingChunks.
    """
    found: dict[str, Page] = {}
    choice = first_object(completion.get("choices"))
    beside = {name: value for name, value in completion.items() if name != "choices"}
    todo: list[tuple[Any, int]] = [(beside, 0), (choice, 0)]  # a value, and its place in a list, 0 if it is in none
    for _ in range(MOST_LOOKS):
        if not todo or len(found) >= MOST_PAGES:
            break
        value, number = todo.pop()
        url, title, inner = read_value(value, number)
        todo += reversed(inner)
        if url:
            known = found.setdefault(bare(url), Page(number, url, ""))
            found[bare(url)] = known._replace(title=known.title or title)
    return list(found.values())


def read_value(value: Any, number: int) -> tuple[str, str, list[tuple[Any, int]]]:
    """The address and the title that a JSON value is, '' if it is none; and what is in it and may be one."""
    if isinstance(value, str):
        return value if is_page(value) else "", "", []
    if isinstance(value, list):  # in a list of lists no text is an address
        parts = enumerate(value[:MOST_ENTRIES], 1)
        return "", "", [(part, place) for place, part in parts if not (number and isinstance(part, str))]
    if not isinstance(value, dict):
        return "", "", []
    named = {name: part for name, part in value.items() if not NO_PAGES.search(name)}
    addresses = (part for name, part in named.items() if ADDRESS_FIELD.fullmatch(name) and is_page(part))
    url = next(addresses, "") if number else ""
    title = next((part for part in map(named.get, TITLE_FIELDS) if isinstance(part, str) and part.strip()), "")
    inner = [
        (part, number if isinstance(part, dict) else 0) for part in named.values() if isinstance(part, (dict, list))
    ]
    return url, title, [] if url else inner


def is_page(value: Any) -> bool:
    """Whether this is the address of a page, and nothing that would end a link or hide where it leads."""
    plain = isinstance(value, str) and len(value) <= MOST_ADDRESS_CHARACTERS and value.isprintable()
    return plain and PAGE.fullmatch(value) is not None


def bare(url: str) -> str:
    """The address without what may differ: 'https://www.a.com/b/?utm_source=c#d' -> 'a.com/b'."""
    address = FORWARDED.sub("", unquote(url).partition("#")[0]).rstrip("?&").rstrip("/")
    return re.sub(r"^https?://(?:www\.)?", "", address)


def stands_in(text: str, url: str) -> bool:
    """Whether the text has this address, and not only as the beginning of another one."""
    address = rf"https?://(?:www\.)?{re.escape(bare(url))}"
    return re.search(rf"{address}/?(?:[?&]utm_\w+=[\w.-]*)*(?!\.?[\w/?=&%~+-])", text, re.ASCII) is not None


def mark_of(number: int) -> str:
    """1 -> '①'"""
    return chr(0x245F + number) if number <= 20 else f"({number})"


def label_of(page: Page) -> str:
    """The title as one line of plain words; the host if it tells nothing."""
    title = " ".join("".join(sign if sign.isprintable() else " " for sign in page.title[:1000]).split())
    if "://" in title or not any(map(str.isalpha, title)):
        title = urlsplit(page.url).netloc.removeprefix("www.")
    return (title if len(title) <= MOST_TITLE_CHARACTERS else title[:MOST_TITLE_CHARACTERS] + "…").translate(HARMLESS)


def link_to(url: str) -> str:
    """The address as the target of a link in Markdown: without brackets, or with one pair of round ones at most."""
    url = url.replace("[", "%5B").replace("]", "%5D").replace("|", "%7C")
    pair = re.fullmatch(r"[^()]*(?:\([^()]*\)[^()]*)?", url)
    return url if pair else url.replace("(", "%28").replace(")", "%29")

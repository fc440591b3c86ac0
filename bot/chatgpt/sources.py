"""The pages that an answer was made from, which services name beside its words."""

import itertools
import re
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from bot import sentences
from bot.values import first_object, walk

MOST_SOURCES, MOST_TITLE_CHARACTERS = 8, 60  # are shown
MOST_LOOKS, MOST_PAGES = 20_000, 40  # values of the JSON are looked at, pages are looked for in the words
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
    """The pages as Markdown, to stand below the words; '' if there are none that the words do not have already.

    Services have many names for them: annotations, citations, search_results, web_search, references, groundingChunks.
    What the message names itself was used for it; of a service that names nothing there, all that its search found.
    """
    choice = first_object(completion.get("choices"))
    plain = unquote(words)
    pages = pages_in(choice.get("message")) or pages_in({**completion, "choices": choice})
    pages = [page for page in pages if not stands_in(plain, page.url)][:MOST_SOURCES]
    numbered = NUMBERS.search(words) is not None
    lines = []
    for page in pages:
        number = chr(0x245F + page.number) if page.number <= 20 else f"({page.number})"  # ①
        lines.append(f"{number if numbered else '-'} [{label_of(page)}]({link_to(page.url)})")
    return "\n".join([sentences.SOURCES, *lines]) if lines else ""


def pages_in(value: Any) -> list[Page]:
    """The pages in a JSON value, each once, by what they are: addresses in a list, with titles or not."""
    found: dict[str, Page] = {}
    inside: tuple[str | int, ...] = ()  # the path of the last one: what is in it is none of its own
    for path, part in itertools.islice(walk(value, NO_PAGES), MOST_LOOKS):
        number = next((step for step in reversed(path) if isinstance(step, int)), 0)
        in_list = [type(step) for step in path[-2:]] == [str, int]  # and not in one of lists
        fields = part if isinstance(part, dict) else {"url": part} if in_list else {}
        named = (name for name in fields if ADDRESS_FIELD.fullmatch(name) and not NO_PAGES.search(name))
        url = next((fields[name] for name in named if is_page(fields[name])), "")
        if url and number and not (inside and path[: len(inside)] == inside):
            inside = path
            titles = (fields.get(name) for name in TITLE_FIELDS)
            title = next((title for title in titles if isinstance(title, str) and title.strip()), "")
            known = found.setdefault(bare(url), Page(number, url, ""))
            found[bare(url)] = known._replace(title=known.title or title)
    return list(found.values())[:MOST_PAGES]


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

"""Sources beside an answer: which are shown, and that none does harm."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from markdown_it import MarkdownIt

from bot.chatgpt.answers import text_of
from bot.chatgpt.responses import as_completion
from bot.chatgpt.sources import sources_below
from bot.sentences import zh
from tests.commonmark import seen_in
from tests.stand_ins.local_cloud import ROOT


def cases(name: str) -> dict[str, dict[str, Any]]:
    lines = (ROOT / f"tests/data/{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return {case["id"]: case for case in map(json.loads, lines)}


SOURCES = cases("sources")
RESPONSES = {name: case for name, case in cases("responses").items() if "links" in case}


def completion(case: dict[str, Any]) -> dict[str, Any]:
    """The body of a case, its one annotation as many times as it says."""
    body: dict[str, Any] = case["body"]
    if "times" in case:
        message = body["choices"][0]["message"]
        (one,) = map(json.dumps, message["annotations"])
        body = {**body, "choices": [{"message": {**message, "annotations": []}}]}
        body["choices"][0]["message"]["annotations"] = [
            json.loads(one.replace("{n}", str(number))) for number in range(case["times"])
        ]
    return body


def answer(*pages: object, words: str = "好。", **fields: Any) -> dict[str, Any]:
    """A completion with these sources."""
    return {"choices": [{"message": {"content": words}}], "citations": list(pages), **fields}


def links_in(markdown: str) -> list[tuple[str, str]]:
    """The addresses and the words of the links that a reader sees."""
    found: list[tuple[str, str]] = []
    for token in MarkdownIt("commonmark").parse(markdown):
        for inner in token.children or ():
            if inner.type == "link_open":
                found.append((str(inner.attrs["href"]), ""))
            elif inner.type == "text" and found and inner.level != 0:
                found[-1] = (found[-1][0], found[-1][1] + inner.content)
    return found


@pytest.mark.parametrize("name", [name for name in SOURCES if "cause" not in SOURCES[name]])
def test_sources_of_a_service_are_links(name: str) -> None:
    """Recorded ones and hostile ones: each once, none that the words have, eight at most, nothing but web pages."""
    case = SOURCES[name]
    body = completion(case)
    below = sources_below(body, body["choices"][0]["message"]["content"])
    links = links_in(below)
    assert [link["url"] for link in case["links"]] == [url for url, _ in links][: len(case["links"])]
    assert len(links) == len(case["links"]) or (case.get("at_least") and len(links) <= 8)
    for wanted, (_, title) in zip(case["links"], links, strict=False):
        assert title.strip() and wanted["title"] in (None, title)
    for text in case.get("not_contains", ()):
        assert text not in below
    assert not {url for url, _ in links} & {*case.get("not_links", ())}
    kinds = [seen.kind for seen in seen_in("答。\n\n" + below)]
    assert not {"code", "html", "rule", "h1", "h2"} & {*kinds}
    assert len(below) <= case.get("at_most_characters", 3000)


@pytest.mark.parametrize("name", RESPONSES)
def test_sources_of_a_response_are_links(name: str) -> None:
    """What its words name, or else what the search read."""
    body = as_completion(RESPONSES[name]["body"])
    words = text_of(body["choices"][0]["message"]["content"])
    links = links_in(sources_below(body, words))
    assert [url for url, _ in links] == [link["url"] for link in RESPONSES[name]["links"]]


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"references": [{"title": "题", "url": "https://a.example/1"}]}, "https://a.example/1"),
        ({"vertex_ai_grounding_metadata": [{"groundingChunks": [{"web": {"uri": "https://a.example/2"}}]}]}, "/2"),
        ({"provider_specific_fields": {"citations": [[{"url": "https://a.example/3", "title": "题"}]]}}, "/3"),
        (
            {"search_info": {"search_results": [{"site_url": "https://a.example/4", "icon": "https://i.example/"}]}},
            "/4",
        ),
    ],
)
def test_source_is_known_by_what_it_is_made_of(fields: dict[str, Any], url: str) -> None:
    """Services have many names for it."""
    ((found, _),) = links_in(sources_below(answer(**fields), "好。"))
    assert found.endswith(url)


@pytest.mark.parametrize(
    "fields",
    [
        {"images": ["https://a.example/1.png"]},
        {"images": [{"image_url": "https://a.example/1.png", "origin_url": "https://a.example/"}]},
        {"tools": [{"server_url": "https://a.example/mcp"}]},
        {"search": {"url": "https://a.example/"}},
    ],
)
def test_address_of_something_else_is_no_source(fields: dict[str, Any]) -> None:
    """Pictures, tools, and what stands in no list."""
    assert sources_below(answer(**fields), "好。") == ""


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("见 https://a.example/b。", False),
        ("见 https://www.a.example/b/", False),
        ("见 [b](http://a.example/b#c)", False),
        ("见 <https://a.example/b?utm_source=x>", False),
        ("见 https://a.example/b/c", True),
        ("见 https://a.example/b.html", True),
        ("见 https://a.example/bc", True),
        ("见 a.example/b", True),
    ],
)
def test_source_that_the_words_have_is_not_shown_again(words: str, shown: bool) -> None:
    """By its address, however it is written; not by the beginning of another one."""
    assert bool(sources_below(answer("https://a.example/b"), words)) is shown


def test_source_has_the_number_that_the_words_use() -> None:
    """'[2]' of the words is the second of the service's list, whichever others are shown."""
    below = sources_below(answer("https://a.example/", "https://b.example/"), "甲（https://a.example/）[1]，乙[2]。")
    assert below == f"{zh.SOURCES}\n② [b.example](https://b.example/)"


def test_answer_of_many_values_is_looked_through_in_time() -> None:
    """A page of nonsense of 8 MB takes no longer than one of 1 MB: there is a limit to what is looked at."""
    nonsense: Any = {"a": [{"b": [{"c": "https://"} for _ in range(30)]} for _ in range(30_000)]}
    started = time.process_time()
    assert sources_below(answer(nonsense=nonsense), "好。") == ""
    assert time.process_time() - started < 2

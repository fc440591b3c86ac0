"""What other services, gateways and firewalls were seen to send: each can be planned, by a short name."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
import requests
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from tests.stand_ins.odd_answers import ANSWER, LINKS, ODD_ANSWERS, SEEN, completion
from tests.stand_ins.openai_api import OpenaiApi
from tests.stand_ins.openai_errors import ERRORS

FINITE = sorted(name for name, seen in SEEN.items() if seen.endless is None)


@pytest.fixture(scope="module")
def running() -> Iterator[OpenaiApi]:
    with OpenaiApi() as api:
        yield api


@pytest.fixture
def api(running: OpenaiApi) -> OpenaiApi:
    """One server for all tests, with nothing left of the test before."""
    running.reset()
    return running


@pytest.fixture(scope="module")
def client(running: OpenaiApi) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="sk-example", base_url=running.base_url, max_retries=0, timeout=5) as client:
        yield client


def ask(client: openai.OpenAI, **more: Any) -> Any:
    return client.chat.completions.create(
        **{"model": "gpt-6-luna", "messages": [{"role": "user", "content": "1+1"}], **more}
    )


def as_sent(api: OpenaiApi, name: str) -> requests.Response:
    """What a request gets, before anybody unpacks or follows it; close it."""
    api.fail_next(name)
    url = f"{api.base_url}/chat/completions"
    return requests.post(url, json={}, stream=True, allow_redirects=False, timeout=5)


def test_each_name_means_one_answer() -> None:
    """Of all three tables."""
    assert not (SEEN.keys() & ODD_ANSWERS.keys() | SEEN.keys() & ERRORS.keys())


@pytest.mark.parametrize("name", FINITE)
def test_planned_answer_is_sent_as_it_was_seen(api: OpenaiApi, name: str) -> None:
    """Once; then the service is as ever, and nobody has paid."""
    with as_sent(api, name) as answer:
        body = answer.raw.read(decode_content=False)
    seen = SEEN[name]
    assert (answer.status_code, answer.headers["Content-Type"]) == (seen.status, seen.content_type)
    assert body == (seen.body.encode() if isinstance(seen.body, str) else seen.body())
    assert all(answer.headers[header] == value for header, value in seen.headers)
    assert requests.post(f"{api.base_url}/chat/completions", json={}, timeout=5).status_code == 401
    assert not api.asked


@pytest.mark.parametrize(
    "name", [name for name in FINITE if name.startswith("response_") or SEEN[name].body == SEEN["annotations"].body]
)
def test_answer_in_a_known_form_passes_the_types(name: str) -> None:
    """Of the openai package, which overlook nothing here."""
    kind: type[ChatCompletion | Response] = Response if name.startswith("response_") else ChatCompletion
    kind.model_validate_json(str(SEEN[name].body), strict=True)


def test_completion_passes_the_types() -> None:
    """The one that is in most of the others."""
    ChatCompletion.model_validate_json(json.dumps(completion()), strict=True)


def test_events_are_a_stream(api: OpenaiApi, client: openai.OpenAI) -> None:
    """The SDK reads them, if it is told that there are some."""
    api.fail_next("events")
    chunks = list(ask(client, stream=True))
    assert "".join(chunk.choices[0].delta.content for chunk in chunks) == ANSWER
    assert chunks[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("name", ["whole_event", "answer_and_done"])
def test_whole_answer_in_a_stream_holds_one(name: str) -> None:
    """As one event, or before the mark of the end."""
    text = str(SEEN[name].body).removeprefix("data: ").removesuffix("data: [DONE]\n\n")
    assert json.loads(text)["choices"][0]["message"]["content"] == ANSWER


def test_wrong_encoding_cannot_be_unpacked(api: OpenaiApi, client: openai.OpenAI) -> None:
    """No client gets further than the headers."""
    api.fail_next("wrong_encoding")
    with pytest.raises(openai.APIConnectionError) as caught:
        ask(client)
    assert type(caught.value.__cause__).__name__ == "DecodingError"


def test_bomb_is_a_thousand_times_what_is_sent(api: OpenaiApi) -> None:
    """A whole answer, if somebody has that much memory."""
    with as_sent(api, "bomb") as answer:
        packed = answer.raw.read(decode_content=False)
    assert len(packed) < 100_000
    unpacked = gzip.decompress(packed)
    assert len(unpacked) > 64_000_000
    assert json.loads(unpacked)["choices"][0]["message"]["content"] == ANSWER


@pytest.mark.parametrize(("name", "size"), [("endless", 3_000_000), ("endless_blanks", 2)])
def test_endless_answer_does_not_end(api: OpenaiApi, name: str, size: int) -> None:
    """However much is read."""
    with as_sent(api, name) as answer:
        assert len(answer.raw.read(size)) == size


@pytest.mark.parametrize("name", ["firewall_page", "firewall_text", "firewall_code"])
def test_firewall_says_nothing_as_an_api_does(api: OpenaiApi, client: openai.OpenAI, name: str) -> None:
    """403 without an error object: the SDK has no code and no type."""
    api.fail_next(name)
    with pytest.raises(openai.PermissionDeniedError) as caught:
        ask(client)
    assert (caught.value.code, caught.value.type) == (None, None)


@pytest.mark.parametrize("name", ["quota_retry_info", "quota_retry_after"])
def test_quota_of_a_minute_is_a_limit_of_requests(api: OpenaiApi, client: openai.OpenAI, name: str) -> None:
    """It says quota, and when to ask again."""
    api.fail_next(name)
    with pytest.raises(openai.RateLimitError) as caught:
        ask(client)
    answer = caught.value.response
    assert "exceeded your current quota" in answer.text
    assert "RetryInfo" in answer.text or answer.headers["Retry-After"] == "1"


@pytest.mark.parametrize("name", ["annotations", "citations", "search_results", "web_search", "response_sources"])
def test_each_way_to_name_sources_names_the_same_two(name: str) -> None:
    """As addresses, most with a title."""
    body = str(SEEN[name].body)
    assert all(url in body for _, url in LINKS)
    assert ANSWER in json.dumps(json.loads(body), ensure_ascii=False)


def test_refusal_of_the_system_role_ends_when_it_is_left_out(api: OpenaiApi, client: openai.OpenAI) -> None:
    """The next question is answered."""
    api.fail_next("no_system_role")
    with pytest.raises(openai.BadRequestError, match="Only user and assistant roles are supported"):
        ask(client)
    assert ask(client).choices[0].message.content == "1+1=2"

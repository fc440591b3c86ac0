"""Asks ChatGPT: tries, time-outs, less history where it is too long."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import re
import time
from collections.abc import Callable, Iterable
from typing import Any

import openai

from bot.chatgpt.answers import read_answer, text_of, tokens_in
from bot.chatgpt.refusals import ModelFailure, Refused, failure_of, read_refusal
from bot.connections import MAX_IDLE_SECONDS, tls_context
from bot.deadline import AFTER_ASKING_SHARE, Run, call_until, refuse_if_late
from bot.logs import trace
from bot.settings import ReplySettings

RETRIED = ("busy", "network", "down")
ASK_PAUSES_SECONDS = (0.5, 2)  # between the three tries of ChatGPT


def ask(question: str, pictures: list[str], turns: list[dict[str, Any]], run: Run) -> str:
    """ChatGPT's answer, after three tries at most; the pictures are data URLs.

    What passes is tried again after a pause. A conversation that is too long for the model is asked again without its
    older half, then without any of it; and so, once, is what was refused for a reason that is not understood, because
    each service has its own words for "too long". The tries are ours: those of the openai package also repeat what
    cannot succeed (no money left), and sleep as long as the service asks for, whatever the time-out is.
    """
    settings = run.settings
    deadline = min(time.monotonic() + settings.timeout, run.without(AFTER_ASKING_SHARE))
    pauses_seconds, shortened = iter(ASK_PAUSES_SECONDS), False
    while True:
        try:
            messages = messages_for(question, turns, settings.system_prompt, pictures)
            answer, run.tokens[:] = ask_once(messages, settings, deadline - time.monotonic())
            return answer
        except ModelFailure as failure:
            wait_seconds = next(pauses_seconds, None)
            shorten = turns and (failure.cause == "long" or (failure.doubtful and not shortened))
            if wait_seconds is None or not (shorten or failure.cause in RETRIED):
                raise
            wait_seconds = 0 if shorten else failure.retry_after_seconds or wait_seconds
            if time.monotonic() + wait_seconds > deadline - 1:
                raise
        if shorten:
            turns, shortened = [] if shortened else turns[(len(turns) + 1) // 2 :], True
        else:
            time.sleep(wait_seconds)


def messages_for(
    question: str, turns: list[dict[str, Any]], system_prompt: str | None, pictures: Iterable[str] = ()
) -> list[dict[str, Any]]:
    """The messages of a request: who the model is, what was said before, the question and its pictures."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": system_prompt}] if system_prompt else []
    for turn in turns:
        messages.append({"role": "user", "content": turn["question"]})
        messages.append({"role": "assistant", "content": turn["answer"]})
    parts = [{"type": "image_url", "image_url": {"url": picture, "detail": "auto"}} for picture in pictures]
    return [*messages, {"role": "user", "content": [{"type": "text", "text": question}, *parts] if parts else question}]


def ask_once(messages: list[dict[str, Any]], settings: ReplySettings, seconds: float) -> tuple[str, list[str]]:
    """ChatGPT's answer to these messages, and the tokens as in Run; or ModelFailure with the cause."""
    client = openai_client(settings.chatgpt_api_key, settings.chatgpt_base_url)
    create: Callable[..., Any] = client.chat.completions.with_raw_response.create
    timeout = openai.Timeout(seconds, connect=min(seconds, 5))
    try:
        response = call_until(
            time.monotonic() + seconds,
            # The messages go as extra_body, which openai leaves as it is: in `messages` it looks for values that need
            # another form, and compares each one with all kinds of messages. That is a third of the CPU of an answer.
            lambda: create(
                model=settings.chatgpt_model,
                messages=[],
                extra_body={**settings.chatgpt_options, "messages": messages},
                timeout=timeout,
            ),
        )
        return read_answer(response.content), tokens_in(response.content)
    except (openai.APITimeoutError, concurrent.futures.TimeoutError) as error:
        openai_client.cache_clear()
        client.close()  # or the thread that was left behind would go on reading
        unconnected = type(error.__cause__).__name__ == "ConnectTimeout"
        raise ModelFailure("network" if unconnected else "timeout", type(error).__name__) from error
    except openai.APIConnectionError as error:
        raise ModelFailure("network", type(error.__cause__).__name__) from error
    except openai.APIStatusError as error:
        refusal = read_refusal(error.status_code, error.response.content)
        raise failure_of(refusal, private_in(messages, settings), error.response.headers) from error
    except Refused as error:
        raise failure_of(error.refusal, private_in(messages, settings), response.headers) from error
    except ValueError as error:  # what stands in CHATGPT_OPTIONS cannot be sent, such as NaN
        raise ModelFailure("options", trace(error)) from error


def private_in(messages: list[dict[str, Any]], settings: ReplySettings) -> list[str]:
    """What of a request may stand in no log."""
    return [settings.chatgpt_api_key, settings.chatgpt_base_url, *(text_of(each["content"]) for each in messages)]


@functools.lru_cache(maxsize=1)
def openai_client(api_key: str, base_url: str) -> openai.OpenAI:
    """The client, made once per instance because that takes 25 ms, with its connections kept between messages.

    An address without a version gets OpenAI's, 'https://a.com' -> 'https://a.com/v1', unless it is that of the request
    itself: the openai package adds /chat/completions to 'https://a.com/x' out of 'https://a.com/x/chat/completions'.
    """
    if base_url.endswith("/chat/completions"):
        base_url = base_url.removesuffix("/chat/completions")
    elif not re.search(r"/v\d\w*(/|$)", base_url):
        base_url += "/v1"
    http_client = openai.DefaultHttpxClient(
        event_hooks={"request": [refuse_late_request]},
        limits=dataclasses.replace(openai.DEFAULT_CONNECTION_LIMITS, keepalive_expiry=MAX_IDLE_SECONDS),
        verify=tls_context(),
    )
    return openai.OpenAI(api_key=api_key, base_url=base_url, max_retries=0, http_client=http_client)


def refuse_late_request(request: Any) -> None:
    """Have refuse_if_late called when the request has its connection, before anything is sent."""

    def trace_event(name: str, _: Any) -> None:
        if name.endswith("send_request_headers.started"):
            refuse_if_late()

    request.extensions["trace"] = trace_event

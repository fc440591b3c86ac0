"""One request to the service, through the openai package."""

import concurrent.futures
import dataclasses
import functools
import re
import time
from collections.abc import Iterable
from typing import Any

import httpx2  # comes with openai
import openai

from bot import VERSION
from bot.chatgpt.answers import Answer, read_answer, text_of
from bot.chatgpt.refusals import ModelFailure, Refusal, failure_of, read_refusal
from bot.chatgpt.responses import in_responses_form
from bot.connections import MAX_IDLE_SECONDS, TooLarge, read_up_to, tls_context, unpacked, watch
from bot.deadline import call_until, refuse_if_late
from bot.logs import trace
from bot.values import values_in

CHAT, RESPONSES = "/chat/completions", "/responses"  # what an address ends in tells the form of a request
EARLY_SECONDS = 0.5  # before the deadline nothing of ours gives up waiting for an answer
MOST_BYTES = 16 * 1024 * 1024  # of an answer, unpacked: pictures are in some


def complete(
    messages: list[dict[str, Any]], settings: Any, seconds: float, stream: bool = False, said: Iterable[str] = ()
) -> Answer:
    """What the service answers to these messages; or ModelFailure. Some services stream unless they are told not to.

    `said`: more words of a person, of an earlier try, that the service may quote.
    """
    request = {"model": settings.chatgpt_model[0], **settings.chatgpt_options, "messages": messages, "stream": stream}
    private = [settings.chatgpt_api_key, settings.chatgpt_base_url, *said]
    private += [text_of(each["content"]) for each in messages]
    client = openai_client(settings.chatgpt_api_key, settings.chatgpt_base_url)
    deadline, timeout = time.monotonic() + seconds, openai.Timeout(seconds, connect=min(seconds, 5))
    try:
        # Not chat.completions.create: in the messages it looks for values that need another form, and compares each one
        # with all kinds of messages, which is a third of the CPU of an answer; and what it gives is not what came.
        path = CHAT
        if settings.chatgpt_base_url.endswith(RESPONSES):
            path, request = RESPONSES, in_responses_form(request)
        post = functools.partial(client.post, path, cast_to=httpx2.Response, body=request, options={"timeout": timeout})
        response = call_until(deadline, post)
        return read_answer(response.content)
    except (openai.APITimeoutError, concurrent.futures.TimeoutError) as error:
        openai_client.cache_clear()
        client.close()  # or the thread that was left behind would go on reading
        # Before its time: it could not connect, or the kernel gave the connection up, see watch.
        early = type(error.__cause__).__name__ == "ConnectTimeout" or time.monotonic() < deadline - EARLY_SECONDS
        raise ModelFailure("network" if early else "timeout", type(error).__name__) from error
    except openai.APIConnectionError as error:
        raise ModelFailure("network", type(error.__cause__).__name__) from error
    except ValueError as error:  # CHATGPT_OPTIONS cannot be sent; or a refusal is not in the encoding that it names
        not_read = isinstance(error, UnicodeError) and not isinstance(error, UnicodeEncodeError)
        raise ModelFailure("strange" if not_read else "options", trace(error)) from error
    except openai.APIStatusError as error:
        response = error.response
        refusal = read_refusal(response.status_code, values_in(response.content))
    except Refusal as told:
        refusal = told
    raise failure_of(refusal, private, response.headers, deadline - time.monotonic())


@functools.lru_cache(maxsize=1)
def openai_client(api_key: str, base_url: str) -> openai.OpenAI:
    """The client, made once per instance because that takes 25 ms, with its connections kept between messages.

    An address without a version gets OpenAI's, 'https://a.com' -> 'https://a.com/v1', unless it is that of the request
    itself: the openai package adds /chat/completions to 'https://a.com/x' out of 'https://a.com/x/chat/completions'.
    """
    if base_url.endswith((CHAT, RESPONSES)):
        base_url = base_url.removesuffix(CHAT).removesuffix(RESPONSES)
    elif not re.search(r"/v\d\w*(/|$)", base_url):
        base_url += "/v1"
    client = openai.DefaultHttpxClient(
        event_hooks={"request": [make_ours], "response": [take_whole]},
        follow_redirects=False,  # the question and the key are for nobody else
        limits=dataclasses.replace(openai.DEFAULT_CONNECTION_LIMITS, keepalive_expiry=MAX_IDLE_SECONDS),
        verify=tls_context(),
    )
    ours = {"User-Agent": f"dingtalk-chatgpt/{VERSION}", "Accept-Encoding": "gzip, deflate"}
    return openai.OpenAI(api_key=api_key, base_url=base_url, default_headers=ours, max_retries=0, http_client=client)


def make_ours(request: httpx2.Request) -> None:
    """Before a request has a connection: firewalls of services and relays refuse what tells of the openai package.

    And have refuse_if_late called when it has one, before anything is sent.
    """
    for name in [name for name in request.headers if name.lower().startswith("x-stainless-")]:
        del request.headers[name]

    def trace_event(name: str, info: dict[str, Any]) -> None:
        if name.endswith("send_request_headers.started"):
            refuse_if_late()
        elif name == "connection.connect_tcp.complete":
            watch(info["return_value"].get_extra_info("socket"))

    request.extensions["trace"] = trace_event


def take_whole(response: httpx2.Response) -> None:
    """Read the body of a response, up to a limit, and unpack it by what it is: what is said of it may be wrong."""
    stream = response.stream
    assert isinstance(stream, httpx2.SyncByteStream)
    try:
        data = read_up_to(MOST_BYTES, stream)
        packed = response.headers.pop("content-encoding", "identity") != "identity" or data.startswith(b"\x1f\x8b")
        data = unpacked(data, MOST_BYTES) if packed else data
    except TooLarge as error:
        raise ModelFailure("strange", error) from None
    finally:
        stream.close()
    response.stream = httpx2.ByteStream(data)  # as if it had come like that

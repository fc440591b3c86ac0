"""How a setting of each kind is read, and what is said of one that is malformed."""

from __future__ import annotations

import json
import logging
import re
from typing import Any
from urllib.parse import urlsplit

from bot import sentences
from bot.values import BLANKS

SECRET = r"(?!.*(\*\*\*|\.\.\.))[!-~]+"  # as the consoles show them, but not with signs in place of what they hide
QUOTES = "\"'`“”‘’「」『』《》＂＇"  # what people put around a value
NOTHING = ("无", "空", "没有", "不填", "none", "null", "nil", "undefined", "n/a")  # how people write: no value


class Malformed(ValueError):
    """A setting is not what its check asks for; the deployer sees the message, which never repeats the value."""


def read_value(text: str, check: Any, name: str, optional: bool) -> Any:
    """The value, by its check: a reader, a range of whole numbers, or the pattern of the whole text."""
    if optional and text.lower() in NOTHING:
        raise Malformed(sentences.LEAVE_EMPTY)
    if callable(check):
        return check(text)
    if isinstance(check, range):
        number = int(text) if re.fullmatch(r"[+-]?\d{1,9}", text) else None
        if number not in check:
            raise Malformed(sentences.WHOLE_NUMBER.format(first=check[0], last=check[-1]))
        return number
    slip = slip_in(text, name)
    if slip or not re.fullmatch(check, text):
        raise Malformed(slip) if slip else ValueError("no match")
    return text


def slip_in(text: str, name: str) -> str:
    """What went wrong when a name or a key was pasted, '' if nothing of it did."""
    slips = (
        (text[0] in QUOTES or text[-1] in QUOTES, sentences.NO_QUOTES),
        (text.startswith((f"{name}=", "export ")), sentences.ONLY_THE_VALUE),
        (re.match(r"(authorization|bearer)\b[: ]", text, re.IGNORECASE), sentences.NO_BEARER),
        (re.search(r"\$\{.*\}", text), sentences.NOT_REPLACED),
        ("://" in text or ".aliyuncs.com" in text, sentences.NO_ADDRESS),
        ("***" in text or "..." in text, sentences.WHOLE_VALUE),
        (re.search(r"\s", text), sentences.NO_BLANKS),
        (not (text.isascii() and text.isprintable()), sentences.ONLY_ASCII),
    )
    return next((advice for found, advice in slips if found), "")


MOST_MODELS = 20  # the self-check asks each


def read_models(text: str) -> tuple[str, ...]:
    """Names of models, in any language, between commas, semicolons or line breaks: the first is asked, \\model chooses.

    They only stand in JSON: 'gpt-6-luna, 通义千问' -> ('gpt-6-luna', '通义千问').
    """
    names = tuple(dict.fromkeys(filter(None, (name.strip(BLANKS) for name in re.split(r"[,，、;；\r\n]+", text)))))
    slips = {slip_in(name, "CHATGPT_MODEL") for name in names} - {"", sentences.ONLY_ASCII}
    if slips or not 0 < len(names) <= MOST_MODELS or not all(name.isprintable() for name in names):
        raise Malformed(min(slips, default=sentences.TOO_MANY.format(most=MOST_MODELS)))
    return names


def read_level(text: str) -> int:
    """A log level by name or number: 'debug' -> 10, '25' -> 25."""
    level = int(text) if text.isdecimal() else logging.getLevelName(text.upper())
    if not isinstance(level, int) or level > 1000:
        raise Malformed(sentences.LEVEL)
    return level


def read_address(text: str) -> str:
    """A web address, https unless it says http, without a trailing slash: 'a.com/' -> 'https://a.com'."""
    if "：" in text:  # before urlsplit, which refuses it with a sentence of its own
        raise Malformed(sentences.HALF_WIDTH_COLON)
    parts = urlsplit(text if "://" in text else "https://" + text)
    if parts.query or parts.fragment or text.endswith(("?", "#")):
        raise Malformed(sentences.NO_QUERY)
    if parts.scheme not in ("http", "https") or not re.fullmatch(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?", parts.netloc):
        raise Malformed(sentences.HTTPS)
    if parts.netloc in ("http", "https") or parts.port == 0 or not re.fullmatch(r"[!-\[\]-~]*", parts.path):
        raise Malformed(sentences.HTTPS)
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def read_endpoint(text: str) -> str:
    """A web address without a path: the SDKs add their own."""
    address = read_address(text)
    if address.count("/") > 2:
        raise Malformed(sentences.NO_PATH)
    return address


# What is no option of one request for one answer: what the function sets itself, how the answer comes, what a service
# would have to remember, calls of functions, arguments of the openai package. Of `tools` see own_tools.
NO_OPTIONS = {
    *("messages", "model", "n", "input", "prompt", "stream", "stream_options", "audio", "modalities"),
    *("background", "conversation", "previous_response_id"),
    *("tool_choice", "parallel_tool_calls", "functions", "function_call"),
    *("extra_body", "extra_headers", "extra_query", "timeout", "max_retries", "api_key", "base_url", "headers"),
}


def read_base_url(text: str) -> str:
    """The address of a service; that of /chat/completions or /responses is taken as it is, see openai_client."""
    address = read_address(text)
    if re.search(r"/v\d\w*/(chat|completions|messages|models|embeddings|images/generations)$", address):
        raise Malformed(sentences.SERVICE_ADDRESS)
    return address


def read_dingtalk_api(text: str) -> str:
    """An https address, or an http one of this machine, to try things: the AppSecret goes there."""
    address = read_endpoint(text)
    if address.startswith("http://") and not is_loopback(address):
        raise Malformed(sentences.HTTPS)
    return address


def is_loopback(address: str) -> bool:
    """Whether a web address is one of this machine."""
    return urlsplit(address).hostname in ("localhost", "127.0.0.1")


def read_region(text: str) -> str:
    """The id of a region, also out of an endpoint: 'oss-us-west-1-internal.aliyuncs.com' -> 'us-west-1'."""
    if "accelerate" in text.lower():
        raise Malformed(sentences.ACCELERATE)
    pattern = r"(?:https?://)?(?:oss-)?([a-z]+(?:-[a-z0-9]+)+?)(?:-internal)?(?:\.aliyuncs\.com)?/?"
    region = re.fullmatch(pattern, text.lower())
    if not region:
        raise Malformed(slip_in(text, "OSS_REGION") or sentences.REGION)
    return region[1]


def read_options(text: str) -> dict[str, Any]:
    """A JSON object for the request, without NO_OPTIONS."""
    if text[0] in QUOTES:
        raise Malformed(sentences.NO_QUOTES)
    try:
        options = json.loads(text, parse_constant=no_number, parse_float=finite, object_pairs_hook=without_repeats)
    except Malformed:
        raise
    except (ValueError, RecursionError) as error:
        raise Malformed(json_slip_in(text, getattr(error, "pos", 0))) from None
    if not isinstance(options, dict):
        raise Malformed(sentences.BRACES)
    bad = [key for key in options if key.strip().lower() in NO_OPTIONS or not key.strip()]
    if bad:
        names = sentences.AND.join(key.strip().lower() or sentences.EMPTY_NAME for key in bad)
        raise Malformed(sentences.NOT_ALLOWED.format(names=names))
    if "tools" in options and not own_tools(options["tools"]):
        raise Malformed(sentences.OWN_TOOLS)
    return options


def own_tools(tools: Any) -> bool:
    """Whether these are tools that the service itself carries out: nobody else would."""
    kinds = [tool.get("type") if isinstance(tool, dict) else None for tool in tools] if isinstance(tools, list) else []
    return bool(kinds) and all(isinstance(kind, str) and kind.strip().lower() not in ("", "function") for kind in kinds)


def json_slip_in(text: str, at: int) -> str:
    """Why a text stops being JSON here: it was written as in Python, or lost or changed its signs on the way."""
    rest = text[at:]
    slips = (
        (rest.startswith("'"), sentences.DOUBLE_QUOTES),
        (rest.startswith("\\"), sentences.NO_BACKSLASH),
        (not rest[:1].isascii(), sentences.HALF_WIDTH),
        (re.match(r"(True|False|None)\b", rest), sentences.NO_PYTHON),
        (re.match(r",?\s*[}\]]", rest) and "," in (rest[0], text[:at].rstrip()[-1:]), sentences.NO_LAST_COMMA),
        (rest[:1].isalpha(), sentences.LOST_QUOTES),
    )
    return next((advice for found, advice in slips if found), sentences.JSON_OBJECT)


def no_number(name: str) -> None:
    """Malformed: NaN and Infinity are no JSON, though Python reads them."""
    raise Malformed(sentences.NOT_ALLOWED.format(names=name))


def finite(text: str) -> float:
    """The number; Malformed if it is as large as 1e999, which Python reads as infinite."""
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise Malformed(sentences.TOO_LARGE)
    return number


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object; Malformed if a name occurs twice, of which Python would take the last."""
    if len(dict(pairs)) < len(pairs):
        raise Malformed(sentences.REPEATED)
    return dict(pairs)


def read_list(text: str) -> tuple[str, ...]:
    """Ids between commas, semicolons, blanks or line breaks; one at least, for none would mean everybody."""
    texts = tuple(filter(None, (part.strip(QUOTES + "[]") for part in re.split(r"[,，、;；\s]+", text))))
    if not texts:
        raise Malformed(sentences.NOT_ONE)
    if not all(part.isascii() and part.isprintable() for part in texts):
        raise Malformed(sentences.IDS)
    return texts


def read_hosts(text: str) -> tuple[str, ...]:
    """Names of hosts, as in a list."""
    hosts = tuple(host.lower() for host in read_list(text))
    if not all(re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", host) for host in hosts):
        raise Malformed(sentences.ONLY_HOSTS)
    return hosts

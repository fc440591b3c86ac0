"""How a setting of each kind is read, and what is said of one that is malformed."""

from __future__ import annotations

import json
import logging
import re
from typing import Any
from urllib.parse import urlsplit

from bot import sentences
from bot.values import BLANKS

SECRET = r"[!-~]+"
QUOTES = "\"'`“”‘’「」『』《》＂＇"  # what people put around a value
NOTHING = ("无", "空", "没有", "不填", "none", "null", "nil", "undefined", "n/a")  # how people write: no value


class Malformed(ValueError):
    """A setting is not what its check asks for. The deployer sees the message, which never repeats the value.

    It is empty where the meaning of the setting, which stands behind it, says enough.
    """


def refuse(*slips: tuple[object, str]) -> None:
    """Malformed, with the advice of the first slip that was made, if one was."""
    for made, advice in slips:
        if made:
            raise Malformed(advice)


def read_value(text: str, check: Any, optional: bool) -> Any:
    """The value, by its check: a reader, a range of whole numbers, or the pattern of the whole text."""
    refuse((optional and text.lower() in NOTHING, sentences.LEAVE_EMPTY))
    if callable(check):
        return check(text)
    if isinstance(check, str):
        return read_pasted(text, check)
    number = int(text) if re.fullmatch(r"[+-]?\d{1,9}", text) else None
    refuse((number is None or number not in check, sentences.WHOLE_NUMBER.format(first=check[0], last=check[-1])))
    return number


def read_pasted(text: str, pattern: str) -> str:
    """A name or a key, of this pattern."""
    refuse(*slips_in(text), (not text.isascii(), sentences.ONLY_ASCII), (not re.fullmatch(pattern, text), ""))
    return text


def slips_in(text: str) -> tuple[tuple[object, str], ...]:
    """What can go wrong when a name or a key is pasted."""
    return (
        (re.search(f"^[{QUOTES}]|[{QUOTES}]$", text), sentences.NO_QUOTES),
        (re.match(r"export |[A-Z_]{7,}=(?!=)", text), sentences.ONLY_THE_VALUE),
        (re.match(r"(authorization|bearer)\b[: ]", text, re.IGNORECASE), sentences.NO_BEARER),
        (re.search(r"\$\{.*\}", text), sentences.NOT_REPLACED),
        ("://" in text or ".aliyuncs.com" in text, sentences.NO_ADDRESS),
        ("***" in text or "..." in text, sentences.WHOLE_VALUE),  # as the consoles show it
        (" " in text or not text.isprintable(), sentences.NO_BLANKS),
    )


MOST_MODELS = 20  # the self-check asks each


def read_models(text: str) -> tuple[str, ...]:
    """Names of models, in any language, between commas, semicolons or line breaks: the first is asked, \\model chooses.

    They only stand in JSON: 'gpt-6-luna, 通义千问' -> ('gpt-6-luna', '通义千问').
    """
    names = tuple(dict.fromkeys(filter(None, (name.strip(BLANKS) for name in re.split(r"[,，、;；\r\n]+", text)))))
    refuse(*(slip for name in names for slip in slips_in(name)))
    refuse((len(names) not in range(1, MOST_MODELS + 1), sentences.TOO_MANY.format(most=MOST_MODELS)))
    return names


def read_level(text: str) -> int:
    """A log level by name or number: 'debug' -> 10, '25' -> 25."""
    level: Any = int(text) if re.fullmatch(r"\d{1,4}", text) else logging.getLevelName(text.upper())
    refuse((level not in range(1001), ""))
    return int(level)


def read_address(text: str) -> str:
    """A web address, https unless it says http, without a trailing slash: 'a.com/' -> 'https://a.com'."""
    scheme, colon, rest = text.partition("://")
    address = f"{scheme.lower()}://{rest}" if colon else f"https://{text}"
    pattern = r"https?://(?!https?(?:/|$))[A-Za-z0-9.-]+(?::([0-9]{1,5}))?(?:/[!-\[\]-~]*)?"
    found = re.fullmatch(pattern, address)
    refuse(
        ("：" in text, sentences.HALF_WIDTH),
        (" " in text or not text.isprintable(), sentences.NO_BLANKS),
        ("?" in text or "#" in text, sentences.NO_QUERY),
        (not found or not 0 < int(found[1] or 443) < 65536, sentences.HTTPS),
    )
    return address.rstrip("/")


def read_endpoint(text: str) -> str:
    """A web address without a path: the SDKs add their own."""
    address = read_address(text)
    refuse((address.count("/") > 2, sentences.NO_PATH))
    return address


def read_base_url(text: str) -> str:
    """The address of a service; that of /chat/completions or /responses is taken as it is, see openai_client."""
    address = read_address(text)
    other_api = re.search(r"/v\d\w*/(chat|completions|messages|models|embeddings|images/generations)$", address)
    refuse((other_api, sentences.SERVICE_ADDRESS))
    return address


def read_dingtalk_api(text: str) -> str:
    """An https address, or an http one of this machine, to try things: the AppSecret goes there."""
    address = read_endpoint(text)
    refuse((address.startswith("http://") and not is_loopback(address), sentences.HTTPS))
    return address


def is_loopback(address: str) -> bool:
    """Whether a web address is one of this machine."""
    return urlsplit(address).hostname in ("localhost", "127.0.0.1")


def read_region(text: str) -> str:
    """The id of a region, also out of an endpoint: 'oss-us-west-1-internal.aliyuncs.com' -> 'us-west-1'."""
    region = re.sub(r"(?i)^(https?://)?(oss-)?|(-internal)?(\.aliyuncs\.com)?/?$", "", text)
    refuse(("accelerate" in region.lower(), sentences.ACCELERATE))
    return read_pasted(region, "(?i)[a-z]+(-[a-z0-9]+)+").lower()


# What is no option of one request for one answer: what the function sets itself, how the answer comes, what a service
# would have to remember, calls of functions, arguments of the openai package. Of `tools` see own_tools.
NO_OPTIONS = {
    *("messages", "model", "n", "input", "prompt", "stream", "stream_options", "audio", "modalities"),
    *("background", "conversation", "previous_response_id"),
    *("tool_choice", "parallel_tool_calls", "functions", "function_call"),
    *("extra_body", "extra_headers", "extra_query", "timeout", "max_retries", "api_key", "base_url", "headers"),
}


def read_options(text: str) -> dict[str, Any]:
    """A JSON object for the request, without NO_OPTIONS."""
    refuse((text[0] in QUOTES, sentences.NO_QUOTES))
    try:
        options = json.loads(text, object_pairs_hook=without_repeats)
        json.dumps(options, allow_nan=False)  # Python reads NaN, and 1e999 as infinite; neither is JSON
    except Malformed:
        raise
    except (ValueError, RecursionError) as error:
        refuse(*json_slips(text, getattr(error, "pos", None)), (True, ""))
    refuse((not isinstance(options, dict), ""))
    names = [name.strip().lower() for name in options]
    bad = sentences.AND.join(name or '""' for name in names if name in NO_OPTIONS or not name)
    refuse((bad, sentences.NOT_ALLOWED.format(names=bad)))
    refuse(("tools" in options and not own_tools(options["tools"]), sentences.OWN_TOOLS))
    return dict(options)


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object; Malformed if a name occurs twice, of which Python would take the last."""
    refuse((len(dict(pairs)) < len(pairs), sentences.REPEATED))
    return dict(pairs)


def json_slips(text: str, at: int | None) -> tuple[tuple[object, str], ...]:
    """Why a text stops being JSON here: it was written as in Python, or lost or changed its signs on the way."""
    rest = text[at:]
    return (
        (at is None, sentences.TOO_LARGE),
        (re.match(r"(True|False|None)\b", rest), sentences.NO_PYTHON),
        (rest[:1].isalpha() or rest.startswith(("'", "\\")), sentences.DOUBLE_QUOTES),
        (not rest[:1].isascii(), sentences.HALF_WIDTH),
        (rest.startswith((",", "}", "]")) and re.search(r",\s*[}\]]", text), sentences.NO_LAST_COMMA),
    )


def own_tools(tools: Any) -> bool:
    """Whether these are tools that the service itself carries out: nobody else would."""
    kinds = [tool.get("type") if isinstance(tool, dict) else None for tool in tools] if isinstance(tools, list) else []
    return bool(kinds) and all(isinstance(kind, str) and kind.strip().lower() not in ("", "function") for kind in kinds)


def read_ids(text: str) -> tuple[str, ...]:
    """Ids, see parts_of; any other text may be one."""
    ids = parts_of(text)
    refuse((not all(each.isascii() and each.isprintable() for each in ids), sentences.IDS))
    return ids


def read_hosts(text: str) -> tuple[str, ...]:
    """Names of hosts, see parts_of."""
    hosts = parts_of(text.lower())
    refuse((not all(re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", host) for host in hosts), ""))
    return hosts


def parts_of(text: str) -> tuple[str, ...]:
    """What stands between commas, semicolons, blanks or line breaks: one at least, for none would mean everybody."""
    parts = tuple(filter(None, (part.strip(QUOTES + "[]") for part in re.split(r"[,，、;；\s]+", text))))
    refuse((not parts, sentences.LEAVE_EMPTY))
    return parts

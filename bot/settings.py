"""The settings of both functions: how each is read, and what is said of a bad one."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

from bot.values import BLANKS

REQUIRED = object()
SECRET = r"(?!.*(\*\*\*|\.\.\.))[!-~]+"  # as the consoles show them, but not with signs in place of what they hide
FC_NAME = r"[A-Za-z_][A-Za-z0-9_-]{0,127}"  # aliyun-fc2 puts names into the path as they are
CONVERSATION: tuple[tuple[str, Any, Any, str], ...] = (  # name, check (see read_value), default, meaning
    ("DINGTALK_APP_SECRET", SECRET, REQUIRED, "钉钉应用的 AppSecret"),
    ("CHATGPT_FUNCTION", FC_NAME, "Dingtalk_ChatGPT_Reply", "回答消息的函数的名称"),
    ("SERVICE_NAME", FC_NAME, None, "两个函数所在的服务的名称，只用于 2.0；不填就是本函数所在的服务"),
    ("ENDPOINT", lambda text: read_endpoint(text), None, "函数计算的 API 地址；不填就是本账号在本地域的地址"),
    ("VERBOSE", lambda text: read_level(text), logging.INFO, "日志级别，例如 INFO 或 DEBUG"),
)
REPLY: tuple[tuple[str, Any, Any, str], ...] = (  # name, check (see read_value), default, meaning
    ("CHATGPT_API_KEY", SECRET, REQUIRED, "ChatGPT 的 API 密钥"),
    ("OSS_BUCKET_NAME", r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", REQUIRED, "存放聊天记录的 OSS Bucket 的名称"),
    ("OSS_ENDPOINT", lambda text: read_endpoint(text), None, "OSS 的访问地址；不填就是本地域的内网地址"),
    ("OSS_REGION", lambda text: read_region(text), None, "Bucket 的地域；不填就按 OSS_ENDPOINT 或函数所在的地域"),
    ("ACCESS_KEY_ID", SECRET, None, "访问 OSS 的 AccessKey ID；不填就用服务或函数的角色"),
    ("ACCESS_KEY_SECRET", SECRET, None, "访问 OSS 的 AccessKey Secret；不填就用服务或函数的角色"),
    ("CHATGPT_MODEL", r"[!-~]+", "gpt-6-luna", "模型的名称"),
    ("CHATGPT_BASE_URL", lambda text: read_base_url(text), "https://api.openai.com", "OpenAI 或兼容服务的地址"),
    ("CHATGPT_OPTIONS", lambda text: read_options(text), {}, '加进请求的 JSON 对象，例如 {"reasoning_effort": "low"}'),
    ("SYSTEM_PROMPT", str, None, "给模型的系统提示词"),
    ("HISTORY_LENGTH", range(1001), 10, "让模型看到最近几轮对话，0 到 1000"),
    ("HISTORY_MINUTES", range(1, 1_000_001), None, "停顿多少分钟以后算新的对话；不填就一直接着说"),
    ("HISTORY_SCOPE", "user|group|person", "user", "聊天记录属于谁：user、group 或 person"),
    ("TIMEOUT", range(1, 3601), 55, "最多等 ChatGPT 多少秒，1 到 3600"),
    ("REPLY_FORMAT", "auto|text|markdown", "auto", "回答的格式：auto、text 或 markdown"),
    ("ALLOWED_USERS", lambda text: read_list(text), (), "可以提问的人的员工 ID，用逗号分开；不填就是所有人"),
    ("ALLOWED_GROUPS", lambda text: read_list(text), (), "可以提问的群的会话 ID，用逗号分开；不填就是所有群"),
    ("DAILY_LIMIT", range(1, 1_000_001), None, "每人每天最多提问几次；不填就不限"),
    ("DINGTALK_APP_KEY", SECRET, None, "机器人所属钉钉应用的 AppKey（Client ID）；不填就不看图片和文件"),
    ("DINGTALK_APP_SECRET", SECRET, None, "机器人所属钉钉应用的 AppSecret（Client Secret）"),
    ("DINGTALK_API", lambda text: read_dingtalk_api(text), "https://api.dingtalk.com", "钉钉开放平台的 API 地址"),
    ("THINKING", "off|on", "off", "回答之前在消息上显示“思考中”：off 或 on"),
    ("WEBHOOK_HOSTS", lambda text: read_hosts(text), ("dingtalk.com",), "可以发送回答的域名，用逗号分开"),
    ("VERBOSE", lambda text: read_level(text), logging.INFO, "日志级别，例如 INFO 或 DEBUG"),
)


def conflicts(settings: SimpleNamespace) -> list[str]:
    """A sentence for each thing that no single setting shows."""
    problems = []
    if bool(settings.access_key_id) != bool(settings.access_key_secret):
        problems.append("ACCESS_KEY_ID 和 ACCESS_KEY_SECRET 要么都设置，要么都不设置")
    if settings.dingtalk_app_key and not settings.dingtalk_app_secret:
        problems.append("设置了 DINGTALK_APP_KEY，就还要设置 DINGTALK_APP_SECRET")
    if settings.thinking == "on" and not settings.dingtalk_app_key:
        problems.append("THINKING=on 需要设置 DINGTALK_APP_KEY 和 DINGTALK_APP_SECRET")
    return problems


QUOTES = "\"'`“”‘’「」『』《》＂＇"  # what people put around a value
NOTHING = ("无", "空", "没有", "不填", "none", "null", "nil", "undefined", "n/a")  # how people write: no value


class Malformed(ValueError):
    """A setting is not what its check asks for; the deployer sees the message, which never repeats the value."""


def read_settings(
    table: tuple[tuple[str, Any, Any, str], ...], environ: Mapping[str, str]
) -> tuple[SimpleNamespace, list[str]]:
    """The values of a table, as attributes in lower case, and a sentence for each bad one: never its value.

    A bad setting has its default, a bad or missing required one is None.
    """
    values, problems = SimpleNamespace(), []
    for name, check, default, meaning in table:
        text = environ.get(name, "").strip(BLANKS)
        value = None if default is REQUIRED else default
        if text and not re.fullmatch(r"\$\{env\(.*\)\}", text):  # what `s deploy` writes for a variable not set there
            try:
                value = read_value(text, check, name, default is not REQUIRED)
            except (ValueError, RecursionError) as error:  # only Malformed is sure not to quote a key pasted here
                why = f"，{error}" if isinstance(error, Malformed) else ""
                problems.append(f"{name} 格式不对{why}（{meaning}）")
        elif default is REQUIRED:
            problems.append(f"{name} 没有设置（{meaning}）")
        setattr(values, name.lower(), value)
    return values, problems


def read_value(text: str, check: Any, name: str, optional: bool) -> Any:
    """The value, by its check: a reader, a range of whole numbers, or the pattern of the whole text."""
    if optional and text.lower() in NOTHING:
        raise Malformed("不需要时请留空")
    if callable(check):
        return check(text)
    if isinstance(check, range):
        number = int(text) if re.fullmatch(r"[+-]?\d{1,9}", text) else None
        if number not in check:
            raise Malformed(f"应该是 {check[0]} 到 {check[-1]} 的整数")
        return number
    slip = slip_in(text, name)
    if slip or not re.fullmatch(check, text):
        raise Malformed(slip) if slip else ValueError("no match")
    return text


def slip_in(text: str, name: str) -> str:
    """What went wrong when a name or a key was pasted, '' if nothing of it did."""
    slips = (
        (text[0] in QUOTES or text[-1] in QUOTES, "不要加引号"),
        (text.startswith((f"{name}=", "export ")), "只填等号后面的内容"),
        (re.match(r"(authorization|bearer)\b[: ]", text, re.IGNORECASE), "不要带 Bearer"),
        (re.search(r"\$\{.*\}", text), "里面的变量没有被替换"),
        ("://" in text or ".aliyuncs.com" in text, "这里不填网址"),
        ("***" in text or "..." in text, "要填完整的值，不能带星号或省略号"),
        (re.search(r"\s", text), "中间不能有空白或换行"),
        (not (text.isascii() and text.isprintable()), "不能有中文、全角或看不见的字符"),
    )
    return next((advice for found, advice in slips if found), "")


def read_level(text: str) -> int:
    """A log level by name or number: 'debug' -> 10, '25' -> 25."""
    level = int(text) if text.isdecimal() else logging.getLevelName(text.upper())
    if not isinstance(level, int) or level > 1000:
        raise Malformed("例如 INFO、DEBUG，或者 0 到 1000 的数字")
    return level


def read_address(text: str) -> str:
    """A web address, https unless it says http, without a trailing slash: 'a.com/' -> 'https://a.com'."""
    parts = urlsplit(text if "://" in text else "https://" + text)
    if parts.query or parts.fragment or text.endswith(("?", "#")):
        raise Malformed("网址不要带 ? 或 #")
    if parts.scheme not in ("http", "https") or not re.fullmatch(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?", parts.netloc):
        raise Malformed("应该是 https:// 开头的网址")
    if parts.netloc in ("http", "https") or parts.port == 0 or not re.fullmatch(r"[!-~]*", parts.path):
        raise Malformed("应该是 https:// 开头的网址")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def read_endpoint(text: str) -> str:
    """A web address without a path: the SDKs add their own."""
    address = read_address(text)
    if address.count("/") > 2:
        raise Malformed("网址不要带路径")
    return address


def role_credentials(context: Any, environ: Mapping[str, str]) -> Any:
    """The temporary credentials of the role, None without a role; from python3.12 on the context does not hold them."""
    in_environment = SimpleNamespace(
        access_key_id=environ.get("ALIBABA_CLOUD_ACCESS_KEY_ID"),
        access_key_secret=environ.get("ALIBABA_CLOUD_ACCESS_KEY_SECRET"),
        security_token=environ.get("ALIBABA_CLOUD_SECURITY_TOKEN"),
    )
    for credentials in (getattr(context, "credentials", None), in_environment):
        if credentials and credentials.access_key_id and credentials.access_key_secret:
            return credentials
    return None


ACCELERATE = "传输加速的地址不是地域，请填 Bucket 所在的地域，例如 us-west-1"
# What is no option of one request for one answer: what the function sets itself, how the answer comes, calls of
# functions, arguments of the openai package.
NO_OPTIONS = {
    *("messages", "model", "n", "input", "prompt", "stream", "stream_options", "audio", "modalities"),
    *("tools", "tool_choice", "parallel_tool_calls", "functions", "function_call"),
    *("extra_body", "extra_headers", "extra_query", "timeout", "max_retries", "api_key", "base_url", "headers"),
}


def read_base_url(text: str) -> str:
    """The address of a service; one that ends in /chat/completions is taken as it is, see openai_client."""
    address = read_address(text)
    if re.search(r"/v\d\w*/(chat|completions|responses|messages|models|embeddings|images/generations)$", address):
        raise Malformed("应该是服务的地址，或者以 /chat/completions 结尾的完整地址")
    return address


def read_dingtalk_api(text: str) -> str:
    """An https address, or an http one of this machine, to try things: the AppSecret goes there."""
    address = read_endpoint(text)
    if address.startswith("http://") and not is_loopback(address):
        raise Malformed("应该是 https:// 开头的网址")
    return address


def is_loopback(address: str) -> bool:
    """Whether a web address is one of this machine."""
    return urlsplit(address).hostname in ("localhost", "127.0.0.1")


def read_region(text: str) -> str:
    """The id of a region, also out of an endpoint: 'oss-us-west-1-internal.aliyuncs.com' -> 'us-west-1'."""
    if "accelerate" in text.lower():
        raise Malformed(ACCELERATE)
    pattern = r"(?:https?://)?(?:oss-)?([a-z]+(?:-[a-z0-9]+)+?)(?:-internal)?(?:\.aliyuncs\.com)?/?"
    region = re.fullmatch(pattern, text.lower())
    if not region:
        raise Malformed(slip_in(text, "OSS_REGION") or "例如 us-west-1")
    return region[1]


def read_options(text: str) -> dict[str, Any]:
    """A JSON object for the request, without NO_OPTIONS."""
    if text[0] in QUOTES:
        raise Malformed("不要加引号")
    try:
        options = json.loads(text, parse_constant=no_number, parse_float=finite, object_pairs_hook=without_repeats)
    except Malformed:
        raise
    except (ValueError, RecursionError):
        raise Malformed("应该是 JSON 对象，引号、冒号和逗号都用半角") from None
    if not isinstance(options, dict):
        raise Malformed("应该是 JSON 对象，用 { } 括起来")
    bad = [key for key in options if key.strip().lower() in NO_OPTIONS or not key.strip()]
    if bad:
        raise Malformed(f"不能有 {'、'.join(key.strip().lower() or '空的名称' for key in bad)}")
    return options


def no_number(name: str) -> None:
    """Malformed: NaN and Infinity are no JSON, though Python reads them."""
    raise Malformed(f"不能有 {name}")


def finite(text: str) -> float:
    """The number; Malformed if it is as large as 1e999, which Python reads as infinite."""
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise Malformed("里面的数太大")
    return number


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object; Malformed if a name occurs twice, of which Python would take the last."""
    if len(dict(pairs)) < len(pairs):
        raise Malformed("不能有重复的名称")
    return dict(pairs)


def read_list(text: str) -> tuple[str, ...]:
    """Ids between commas, semicolons, blanks or line breaks; one at least, for none would mean everybody."""
    texts = tuple(part.strip(QUOTES + "[]") for part in re.split(r"[,，、;；\s]+", text))
    texts = tuple(filter(None, texts))
    if not texts:
        raise Malformed("一个也没有")
    if not all(part.isascii() and part.isprintable() for part in texts):
        raise Malformed("要填 ID，不是姓名或群名")
    return texts


def read_hosts(text: str) -> tuple[str, ...]:
    """Names of hosts, as in a list."""
    hosts = tuple(host.lower() for host in read_list(text))
    if not all(re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", host) for host in hosts):
        raise Malformed("只填域名，例如 dingtalk.com")
    return hosts

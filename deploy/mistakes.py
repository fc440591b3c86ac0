"""What people put into .env that cannot work though it looks right: the rules of `init` and of the check.

A rule takes the values as they arrive at the functions and yields a name and what to change, in Chinese and English,
never a value. What a single setting must look like stands in bot/settings.py, which both ask as well.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Container, Iterator, Mapping
from typing import NamedTuple

from . import regions, services
from .regions import MOST_CHARACTERS, REGIONS
from .services import Service


class Mistake(NamedTuple):
    """One thing to change."""

    name: str  # the setting whose line is wrong
    chinese: str
    english: str


# What a value is by its looks: kind -> pattern, Chinese, English.
KINDS = {
    "app key": (r"(?:ding|suite)[A-Za-z0-9]{8,40}", " AppKey（Client ID）", "an AppKey (Client ID)"),
    "agent id": (r"\d{5,12}", " AgentId", "an AgentId"),
    "app id": (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", " App ID", "an App ID"),
    "signing secret": (r"SEC[0-9a-f]{40,}", "自定义机器人的加签密钥", "the signing secret of a custom robot"),
    "webhook token": (r"[0-9a-f]{64}", "自定义机器人的 access_token", "the access_token of a custom robot"),
    "access key": (r"LTAI\w{8,}", "阿里云的 AccessKey ID", "an AccessKey ID of Alibaba Cloud"),
    "temporary key": (r"STS\.\S+", "阿里云的临时 AccessKey ID", "a temporary AccessKey ID of Alibaba Cloud"),
    "model key": (r"sk-[\w-]{8,}", "模型服务的密钥", "the key of a model service"),
    "model": (r"(gpt|qwen|deepseek|glm|kimi|doubao)-[\w.-]+", "模型的名称", "the name of a model"),
}
# What a setting cannot be; and what it is, where to find it.
SECRETS = {
    "DINGTALK_APP_SECRET": (
        KINDS.keys(),
        "应该填 AppSecret（Client Secret），在钉钉开发者后台这个应用的“凭证与基础信息”里",
        "it should be the AppSecret (Client Secret), which DingTalk's developer console shows on the application's page"
        " 凭证与基础信息",
    ),
    "DINGTALK_APP_KEY": (
        KINDS.keys() - {"app key"},
        "应该填 AppKey（Client ID），以 ding 开头，和 AppSecret 在同一页",
        "it should be the AppKey (Client ID), which begins with ding and stands beside the AppSecret",
    ),
    "CHATGPT_API_KEY": (
        {"app key", "signing secret", "access key", "temporary key", "model"},
        "应该填模型服务的 API 密钥，在那家服务的控制台里创建",
        "it should be the API key of the model service, made in its console",
    ),
    "ACCESS_KEY_ID": (
        KINDS.keys() - {"access key"},
        "应该填 AccessKey ID，以 LTAI 开头；不填就用角色，更好",
        "it should be an AccessKey ID, which begins with LTAI; better leave it out, then the role is used",
    ),
    "ACCESS_KEY_SECRET": (
        KINDS.keys() - {"agent id"},
        "应该填 AccessKey Secret；不填就用角色，更好",
        "it should be the AccessKey Secret; better leave it out, then the role is used",
    ),
}
PAIRS = (("DINGTALK_APP_KEY", "DINGTALK_APP_SECRET"), ("ACCESS_KEY_ID", "ACCESS_KEY_SECRET"))
# What stands in an example for a value of one's own; ENDPOINT's account is the one in .env.example.
PLACEHOLDER = re.compile(
    r"(?i)(sk-|https?://)?your[-_]|yourbucket|(sk-)?x{4,}\b|<|＜|你的|请填|填写|(example-?)?bucket(-?name)?$"
    r"|https?://([\w.-]+\.)?example\.\w+|https?://1234567890123456\."
)
MUST_BE_OWN = (*SECRETS, "OSS_BUCKET_NAME", "CHATGPT_BASE_URL", "ENDPOINT")
# A page for people: by the first part of its host's name, unless the path is one of an API.
PAGE = re.compile(r"(www|platform|console|chat|docs?|help|api-docs|developers?|dashboard|open-dev)\.|.*\.console\.")


def find(values: Mapping[str, str]) -> Iterator[Mistake]:
    """Every mistake; of one setting the first is the one to tell."""
    given = {name: text.strip() for name, text in values.items()}
    given = {name: text for name, text in given.items() if text and not re.fullmatch(r"\$\{env\(.*\)\}", text)}
    for rule in RULES:
        yield from rule(given)


def placeholders(given: Mapping[str, str]) -> Iterator[Mistake]:
    """An example that was left as it is."""
    for name in MUST_BE_OWN:
        if PLACEHOLDER.match(given.get(name, "")):
            yield Mistake(name, "还是例子里的值，请换成你自己的", "still the value of an example; put in your own")


def swapped(given: Mapping[str, str]) -> Iterator[Mistake]:
    """Each of the two stands in the other's line."""
    for key, secret in PAIRS:
        own = {"DINGTALK_APP_KEY": "app key", "ACCESS_KEY_ID": "access key"}[key]
        if kind_of(given.get(secret, ""), {own}) and key in given and not kind_of(given[key], {own}):
            chinese = f"{key} 和 {secret} 写反了，请对调"
            english = f"{key} and {secret} are swapped: exchange them"
            yield Mistake(secret, chinese, english)
            yield Mistake(key, chinese, english)


def other_secrets(given: Mapping[str, str]) -> Iterator[Mistake]:
    """A key or an id that is not the one this setting is for."""
    for name, (wrong, chinese, english) in SECRETS.items():
        kind = kind_of(given.get(name, ""), wrong)
        if kind:
            _, what, thing = KINDS[kind]
            yield Mistake(name, f"填的是{what}：{chinese}", f"this is {thing}: {english}")
        elif name == "DINGTALK_APP_KEY" and len(given.get(name, "")) > 45:
            yield Mistake(name, f"看上去是 AppSecret：{chinese}", f"this looks like an AppSecret: {english}")


def kind_of(text: str, kinds: Container[str]) -> str:
    """Which of these kinds a value is by its looks, '' if none."""
    return next((kind for kind, (pattern, *_) in KINDS.items() if kind in kinds and re.fullmatch(pattern, text)), "")


def wrong_regions(given: Mapping[str, str]) -> Iterator[Mistake]:
    """A region that is not written by its id, or is none. OSS has more of them than Function Compute."""
    for name in ("REGION", "OSS_REGION"):
        text = given.get(name, "")
        if text in REGIONS or not text:
            continue
        region, is_zone = regions.meant(text)
        if is_zone:
            yield Mistake(name, f"填的是可用区，应该填地域：{region}", f"this is a zone; write the region: {region}")
        elif region and (name == "REGION" or not re.fullmatch(r"[a-z]+-[a-z0-9-]+", text) or "oss-" in text):
            yield Mistake(name, f"应该填地域 ID：{region}", f"write the region's id: {region}")
        elif name == "REGION":
            known = ", ".join(each for each in REGIONS if each.count("-") < 3)
            yield Mistake(
                name, f"函数计算没有这个地域，可以填：{known}", f"Function Compute has no such region; it has {known}"
            )


def wrong_addresses(given: Mapping[str, str]) -> Iterator[Mistake]:
    """An address of OSS or of Function Compute that is none; better neither is set."""
    example = f"https://oss-{given.get('REGION', 'cn-hangzhou')}-internal.aliyuncs.com"
    host, chinese, english = services.host_and_path(given.get("OSS_ENDPOINT", ""))[0], "", ""
    if host and "." not in host and regions.meant(host)[0]:
        chinese, english = "只填了地域，应该填网址", "this is a region, not an address"
    elif re.match(r"(?!oss-|vpc)[a-z0-9-]+\.(oss|vpc100-oss)-.*\.aliyuncs\.com$", host):
        chinese, english = "前面不要带 Bucket 的名称", "the bucket does not belong in front of it"
    elif re.match(r"(.*\.)?console\.|.*\.fc\.|.*\.fcapp\.run$", host):
        chinese, english = "不是 OSS 的访问地址", "this is not an address of OSS"
    if chinese:
        better = f"{english}. It looks like {example} ; better leave it out"
        yield Mistake("OSS_ENDPOINT", f"{chinese}，例如 {example} ；不填更好", better)
    if re.match(r".*\.fcapp\.run$|.*\.console\.|oss-", services.host_and_path(given.get("ENDPOINT", ""))[0]):
        chinese = "不是函数计算的 API 地址；不填最好，就用本账号在本地域的地址"
        english = "this is not the address of Function Compute's API; better leave it out: then the account's is used"
        yield Mistake("ENDPOINT", chinese, english)


def other_regions(given: Mapping[str, str]) -> Iterator[Mistake]:
    """The bucket, or the API that invokes the other function, is in another region than the functions."""
    region = given.get("REGION", "")
    found = {name: regions.in_endpoint(given.get(name, "")) for name in ("OSS_ENDPOINT", "ENDPOINT")}
    found["OSS_REGION"] = given["OSS_REGION"] if re.match(r"[a-z]+-[a-z0-9-]+$", given.get("OSS_REGION", "")) else ""
    for name, other in found.items():
        if region in REGIONS and other and other != region:
            chinese = f"在地域 {other}，而函数部署到 {region}：两个函数和 Bucket 要在同一个地域；不填更好"
            english = (
                f"this is in {other}, but the functions go to {region}; they and the bucket belong into one region."
            )
            yield Mistake(name, chinese, f"{english} Better leave it out")


def wrong_models(given: Mapping[str, str]) -> Iterator[Mistake]:
    """A model that the service at the address does not have."""
    address = given.get("CHATGPT_BASE_URL", "")
    service = services.service_at(address) if address else services.OPENAI
    named = [model for model in re.split(r"[,，、;；\s]+", given.get("CHATGPT_MODEL", "")) if model]
    others = [services.service_of_model(model) for model in named]
    if service is services.OPENAI:
        other = next(filter(services.is_of_another_service, named), None)
        if other:
            yield without_address(services.service_of_model(other), bool(address))
    elif service and service.english != "OpenRouter":
        chinese, english = f"请填{service.within_chinese()}的模型", f"put in a model of {service.english}"
        example, such = f"，例如 {service.model}", f", such as {service.model}"
        if not named:
            yield Mistake("CHATGPT_MODEL", f"没有设置：{chinese}{example}", f"not set: {english}{such}")
        elif services.OPENAI in others or (service.english == "DeepSeek" and set(others) - {service, None}):
            yield Mistake("CHATGPT_MODEL", f"这家服务没有这个模型：{chinese}{example}", f"{english}{such}")


def without_address(service: Service | None, has_address: bool) -> Mistake:
    """OpenAI is asked for a model of this service, or of one that is not known."""
    where = f"，例如{service.within_chinese()}的是 {service.address} " if service else ""
    there = f" ({service.english}: {service.address} )" if service else ""
    if has_address:
        chinese = f"这是 OpenAI 的地址，CHATGPT_MODEL 却是别家的模型：请填那家服务的地址{where}"
        english = f"this is OpenAI's address, but CHATGPT_MODEL is not its model: put in the service's address{there}"
        return Mistake("CHATGPT_BASE_URL", chinese, english)
    chinese = f"OpenAI 没有这个模型：还要填 CHATGPT_BASE_URL{where}"
    return Mistake("CHATGPT_MODEL", chinese, f"OpenAI has no such model: set CHATGPT_BASE_URL as well{there}")


def pages(given: Mapping[str, str]) -> Iterator[Mistake]:
    """The address of a page for people, where that of an API belongs."""
    address = given.get("CHATGPT_BASE_URL", "")
    service, (host, path) = services.service_at(address), services.host_and_path(address)
    if service and not services.answers(service, address):
        is_page = not services.is_at(host, service.hosts)
        what, thing = ("网页，不是 API 的地址", "a page") if is_page else ("地址，但路径不对", "another path")
        chinese = f"填 {service.address}" if service.address else "用 OpenAI 就不要填"
        english = f"{service.address} is right" if service.address else "leave it out for OpenAI"
        yield Mistake(
            "CHATGPT_BASE_URL",
            f"这是{service.within_chinese()}的{what}：{chinese}",
            f"this is {thing} of {service.english}, not the address of its API: {english}",
        )
    elif not service and PAGE.match(host) and not re.search(r"/v\d|/api\b|/compatible", path):
        chinese = "看上去是给人看的网页，应该填 API 的地址，多半以 /v1 结尾"
        english = "this looks like a page for people; put in the address of the API, which mostly ends in /v1"
        yield Mistake("CHATGPT_BASE_URL", chinese, english)
    if re.match(r"(open-dev|open|oapi|www|oa)\.dingtalk\.", services.host_and_path(given.get("DINGTALK_API", ""))[0]):
        yield Mistake("DINGTALK_API", "不是钉钉新版 API 的地址，不填就对了", "not DingTalk's new API; leave it out")


RULES: tuple[Callable[[Mapping[str, str]], Iterator[Mistake]], ...] = (
    *(placeholders, swapped, other_secrets, wrong_regions, wrong_addresses, other_regions, pages, wrong_models),
)


def notes(given: Mapping[str, str]) -> Iterator[Mistake]:
    """What may be meant, but mostly is not."""
    region, address = given.get("REGION", ""), given.get("CHATGPT_BASE_URL", "")
    is_openai = not address or services.service_at(address) is services.OPENAI
    if region.startswith("cn-") and is_openai and not services.is_of_another_service(given.get("CHATGPT_MODEL", "")):
        yield Mistake(
            "REGION",
            "OpenAI 不向中国内地和香港提供服务：请换一个地域，或者用百炼、DeepSeek 等服务",
            "OpenAI does not serve mainland China and Hong Kong: take another region, or another service",
        )


# Other words for a part of a name.
SAME = {"OPENAI": "CHATGPT", "GPT": "CHATGPT", "DINGDING": "DINGTALK", "DING": "DINGTALK", "CLIENT": "APP"}


def settings_like(name: str, known: Collection[str]) -> list[str]:
    """The settings that a misspelt name may stand for, several if they fit alike: 'API_KEY' -> ['CHATGPT_API_KEY'].

    It shares more than half of its parts with them, or has no other; else its letters are nearly theirs.
    """
    parts_of = {each: set(each.split("_")) for each in known}
    name, words = name[:MOST_CHARACTERS].upper(), set().union(*parts_of.values())
    longest_first = "|".join(sorted(words, key=len, reverse=True))
    given = re.split("[_.-]+", re.sub(rf"({longest_first})S?", r"_\1_", name).strip("_.-"))
    parts = {SAME.get(part) or next(iter(difflib.get_close_matches(part, words, 1, 0.81)), part) for part in given}
    shares = {each: 2 * len(parts & own) / (len(parts) + len(own)) for each, own in parts_of.items()}
    fitting = {each: share for each, share in shares.items() if share > 0.5 or parts <= parts_of[each]}
    best = [each for each in sorted(fitting) if fitting[each] == max(fitting.values())]
    return best or difflib.get_close_matches(name, known, 1, 0.85)

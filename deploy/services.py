"""The services that answer with a model: what docs/en/services.md says of each, for `init` and for the check."""

from __future__ import annotations

import re
from typing import NamedTuple


class Service(NamedTuple):
    """One row of the table in docs/en/services.md."""

    chinese: str
    english: str
    address: str  # CHATGPT_BASE_URL; '' is OpenAI's, which needs none
    model: str
    keys: str  # the page on which a key is made
    domains: tuple[str, ...]  # its own; of these only `hosts` answer, all others are pages for people
    hosts: tuple[str, ...]
    path: str  # what the path of its API holds; '' is anything
    families: str  # a pattern: how the names of its own models begin

    def within_chinese(self) -> str:
        """Its name inside of a Chinese sentence, where Latin letters stand between blanks."""
        return f" {self.chinese} " if self.chinese.isascii() else self.chinese


DASHSCOPE = (
    *("dashscope.aliyuncs.com", "dashscope-intl.aliyuncs.com", "dashscope-us.aliyuncs.com", "maas.aliyuncs.com"),
)
SERVICES = (
    Service(
        *("阿里云百炼", "Alibaba Model Studio", "https://dashscope.aliyuncs.com/compatible-mode/v1", "qwen-plus"),
        "https://bailian.console.aliyun.com/",
        ("aliyun.com", "alibabacloud.com", *DASHSCOPE),
        DASHSCOPE,
        "compatible-mode",
        r"(?:qwen|qwq|qvq)[^/]*$",
    ),
    Service(
        *("DeepSeek", "DeepSeek", "https://api.deepseek.com", "deepseek-v4-flash"),
        "https://platform.deepseek.com/api_keys",
        ("deepseek.com",),
        ("api.deepseek.com",),
        "",
        r"deepseek[^/]*$",
    ),
    Service(
        *("智谱（BigModel）", "Zhipu (BigModel)", "https://open.bigmodel.cn/api/paas/v4", "glm-5.2"),
        "https://open.bigmodel.cn/",
        ("bigmodel.cn", "zhipuai.cn", "chatglm.cn"),
        ("open.bigmodel.cn",),
        "/api/",
        "glm|chatglm|codegeex",
    ),
    Service(
        *("月之暗面（Kimi）", "Moonshot (Kimi)", "https://api.moonshot.cn/v1", "kimi-k2.6"),
        "https://platform.moonshot.cn/",
        ("moonshot.cn", "moonshot.ai", "kimi.com", "kimi.ai"),
        ("api.moonshot.cn", "api.moonshot.ai", "api.kimi.com"),
        "",
        "kimi|moonshot",
    ),
    Service(
        *("火山方舟", "Volcengine Ark", "https://ark.cn-beijing.volces.com/api/v3", "doubao-seed-1-8-251228"),
        "https://console.volcengine.com/ark/",
        ("volcengine.com", "volces.com", "doubao.com"),
        ("ark.cn-beijing.volces.com",),
        "/api/",
        r"doubao|ep-\d",
    ),
    Service(
        *("硅基流动", "SiliconFlow", "https://api.siliconflow.cn/v1", "deepseek-ai/DeepSeek-V4-Flash"),
        "https://cloud.siliconflow.cn/",
        ("siliconflow.cn", "siliconflow.com"),
        ("api.siliconflow.cn", "api.siliconflow.com"),
        "",
        r"pro/|[\w.-]+-ai/",
    ),
    Service(
        *("MiniMax", "MiniMax", "https://api.minimaxi.com/v1", "MiniMax-M3"),
        "https://platform.minimaxi.com/",
        ("minimaxi.com", "minimax.io"),
        ("api.minimaxi.com", "api.minimax.io", "api-bj.minimaxi.com"),
        "",
        "minimax|abab",
    ),
    Service(
        *("OpenRouter", "OpenRouter", "https://openrouter.ai/api/v1", "openai/gpt-5.2"),
        "https://openrouter.ai/",
        ("openrouter.ai",),
        ("openrouter.ai",),
        "/api/",
        r"openai/|anthropic/|google/|meta-llama/|x-ai/|mistralai/",
    ),
    Service(
        *("OpenAI", "OpenAI", "", "gpt-6-luna"),
        "https://platform.openai.com/api-keys",
        ("openai.com", "chatgpt.com"),
        ("api.openai.com", "eu.api.openai.com", "us.api.openai.com"),
        "",
        r"(?:ft:)?gpt-(?!oss)|chatgpt|o\d",
    ),
)
OPENAI = SERVICES[-1]
# Models that OpenAI does not have, though none of the services above is the only one that does.
ELSEWHERE = r"gpt-oss|claude|gemini|gemma|llama|mistral|grok|ernie|hunyuan|spark|step-|yi-|baichuan|internlm|[\w.-]+/"


def service_of_model(model: str) -> Service | None:
    """The service whose model this is by its name: 'qwen-plus' -> Alibaba Model Studio; None if it may be any."""
    return next((each for each in SERVICES if re.match(each.families, model.lower())), None)


def is_of_another_service(model: str) -> bool:
    """Whether OpenAI surely has no model of this name."""
    service = service_of_model(model)
    return service is not OPENAI and bool(service or re.match(ELSEWHERE, model.lower()))


def host_and_path(address: str) -> tuple[str, str]:
    """The two in an address, whatever somebody wrote: 'https://a.com:1/v1?x' -> 'a.com', '/v1'."""
    found = re.match(r"(?:\w+://)?([^/:?#]*)[^/?#]*([^?#]*)", address.strip().lower())
    return (found[1], found[2]) if found else ("", "")


def is_at(host: str, domains: tuple[str, ...]) -> bool:
    """Whether a host is one of these, or below one of them."""
    return any(f".{host}".endswith(f".{domain}") for domain in domains)


def service_at(address: str) -> Service | None:
    """The service to which an address belongs, by its domain: also if it is one of its pages for people."""
    host, _ = host_and_path(address)
    return next((each for each in SERVICES if is_at(host, each.domains)), None)


def answers(service: Service, address: str) -> bool:
    """Whether the API is at this address of the service, and not a page."""
    host, path = host_and_path(address)
    return is_at(host, service.hosts) and service.path in f"{path}/"

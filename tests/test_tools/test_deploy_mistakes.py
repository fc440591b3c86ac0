"""Files .env as people write them: what `python3 -m deploy check` says of each, and of those that are right."""

from __future__ import annotations

import re

import pytest
import yaml

from deploy import check, environment, mistakes, regions, services
from deploy.build import FUNCTIONS
from tests.stand_ins.local_cloud import ROOT

# Values of the right shape, all invented.
APP_KEY = "dingq8x2k7m4v1n9p3ra"
APP_SECRET = "Xk3_vB9-qLm2Ns7TzRw4Yc8Hd6Jf1Gp5Ua0Ie_QoXk3vB9qLm2Ns7TzRw4Yc8Hd"
SIGNING_SECRET = "SEC" + "0a1b2c3d4e5f6071" * 4
KEY_ID, KEY_SECRET = "LTAI5tExampleExampleKey1", "k3Vb9QLm2Ns7TzRw4Yc8Hd6Jf1Gp5U"
BAILIAN, DEEPSEEK = "https://dashscope.aliyuncs.com/compatible-mode/v1", "https://api.deepseek.com"
RIGHT = {
    "REGION": "cn-hangzhou",
    "DINGTALK_APP_SECRET": APP_SECRET,
    "CHATGPT_API_KEY": "sk-2f6c1e0b9d8a47f3",
    "OSS_BUCKET_NAME": "chat-of-ours",
    "CHATGPT_BASE_URL": BAILIAN,
    "CHATGPT_MODEL": "qwen-plus",
}
FUNCTIONS_IN = {
    template.generation: {
        name: check.function_in(yaml.safe_load((ROOT / template.file).read_text(encoding="utf-8")), name, template)
        for name in FUNCTIONS
    }
    for template in environment.TEMPLATES.values()
}

each_generation = pytest.mark.parametrize("generation", environment.TEMPLATES)


def told(text: str, generation: int = 2, **shell: str) -> list[str]:
    """What the check says of a .env with this text, in a terminal with these variables."""
    template = environment.TEMPLATES[generation]
    found = environment.read(template, shell, text)
    return list(check.value_problems(template, found, FUNCTIONS_IN[generation]))


def file_of(changes: dict[str, str]) -> str:
    """A right .env with these lines instead; '' leaves one out."""
    return "".join(f"{name}={value}\n" for name, value in {**RIGHT, **changes}.items() if value)


# (the lines that are different, the name whose line is told, words of the cure in Chinese, in English)
WRONG: list[tuple[dict[str, str], str, str, str]] = [
    ({"DINGTALK_APP_SECRET": APP_KEY}, "DINGTALK_APP_SECRET", "应该填 AppSecret", "an AppKey (Client ID)"),
    ({"DINGTALK_APP_SECRET": "2845712345"}, "DINGTALK_APP_SECRET", "AgentId", "an AgentId"),
    ({"DINGTALK_APP_SECRET": SIGNING_SECRET}, "DINGTALK_APP_SECRET", "加签密钥", "signing secret of a custom robot"),
    ({"DINGTALK_APP_SECRET": "0a1b2c3d4e5f6071" * 4}, "DINGTALK_APP_SECRET", "access_token", "access_token"),
    ({"DINGTALK_APP_SECRET": "12345678-90ab-cdef-1234-567890abcdef"}, "DINGTALK_APP_SECRET", "App ID", "an App ID"),
    ({"DINGTALK_APP_SECRET": "sk-2f6c1e0b9d8a47f3"}, "DINGTALK_APP_SECRET", "模型服务的密钥", "key of a model service"),
    ({"DINGTALK_APP_SECRET": KEY_ID}, "DINGTALK_APP_SECRET", "AccessKey ID", "an AccessKey ID"),
    ({"DINGTALK_APP_SECRET": "your-app-secret"}, "DINGTALK_APP_SECRET", "换成你自己的", "put in your own"),
    ({"DINGTALK_APP_KEY": "2845712345"}, "DINGTALK_APP_KEY", "以 ding 开头", "begins with ding"),
    ({"DINGTALK_APP_KEY": APP_SECRET}, "DINGTALK_APP_KEY", "AppSecret", "looks like an AppSecret"),
    ({"CHATGPT_API_KEY": KEY_ID}, "CHATGPT_API_KEY", "AccessKey ID", "an AccessKey ID"),
    ({"CHATGPT_API_KEY": "STS.NUexampleexample"}, "CHATGPT_API_KEY", "临时 AccessKey ID", "a temporary AccessKey ID"),
    ({"CHATGPT_API_KEY": APP_KEY}, "CHATGPT_API_KEY", "AppKey", "an AppKey"),
    ({"CHATGPT_API_KEY": "qwen-plus"}, "CHATGPT_API_KEY", "模型的名称", "name of a model"),
    ({"CHATGPT_API_KEY": "sk-xxxxxxxxxxxx"}, "CHATGPT_API_KEY", "换成你自己的", "put in your own"),
    ({"CHATGPT_API_KEY": "'Bearer sk-2f6c1e0b'"}, "CHATGPT_API_KEY", "不要带 Bearer", "remove the word Bearer"),
    ({"ACCESS_KEY_ID": KEY_ID}, "ACCESS_KEY_ID", "要么都设置，要么都不设置", "set both or neither"),
    ({"ACCESS_KEY_SECRET": KEY_SECRET}, "ACCESS_KEY_SECRET", "要么都设置，要么都不设置", "set both or neither"),
    ({"ACCESS_KEY_ID": "STS.NUexample", "ACCESS_KEY_SECRET": KEY_SECRET}, "ACCESS_KEY_ID", "用角色", "role is used"),
    ({"THINKING": "on"}, "THINKING", "需要设置 DINGTALK_APP_KEY", "needs DINGTALK_APP_KEY"),
    ({"OSS_BUCKET_NAME": "your-bucket"}, "OSS_BUCKET_NAME", "换成你自己的", "put in your own"),
    *[
        ({"OSS_BUCKET_NAME": text}, "OSS_BUCKET_NAME", "3 到 63 个小写字母、数字", "3 to 63 lower-case letters, digits")
        for text in ("Chat-Of-Ours", "My_Bucket", "chat.of.ours", "ab", "-chat", "聊天记录")
    ],
    (
        {"CHATGPT_FUNCTION": "my.reply"},
        "CHATGPT_FUNCTION",
        "字母、数字、下划线和短横线",
        "letters, digits, underscores",
    ),
    ({"OSS_BUCKET_NAME": "chat.oss-cn-hangzhou.aliyuncs.com"}, "OSS_BUCKET_NAME", "不填网址", "an address"),
    *[
        ({"REGION": text}, "REGION", cure, cure)
        for text, cure in [
            ("华东1（杭州）", "cn-hangzhou"),
            ("杭州", "cn-hangzhou"),
            ("华北 2", "cn-beijing"),
            ("cn-hangzhou-b", "cn-hangzhou"),
            ("us-west-1a", "us-west-1"),
            ("oss-cn-hangzhou", "cn-hangzhou"),
            ("https://oss-cn-hangzhou-internal.aliyuncs.com", "cn-hangzhou"),
            ("CN-Hangzhou", "cn-hangzhou"),
            ("cn-hangzou", "cn-hangzhou"),
            ("'US (Silicon Valley)'", "us-west-1"),
            ("hangzhou", "cn-hangzhou"),
            ("mars-1", "cn-shanghai, "),
        ]
    ],
    ({"OSS_REGION": "cn-hangzhou-b"}, "OSS_REGION", "可用区", "a zone"),
    ({"OSS_REGION": "oss-cn-hangzhou"}, "OSS_REGION", "cn-hangzhou", "cn-hangzhou"),
    ({"OSS_REGION": "华东1"}, "OSS_REGION", "cn-hangzhou", "cn-hangzhou"),
    ({"OSS_REGION": "某地"}, "OSS_REGION", "不能有中文", "remove Chinese"),
    ({"OSS_REGION": "cn-shanghai"}, "OSS_REGION", "同一个地域", "one region"),
    ({"OSS_ENDPOINT": "https://chat-of-ours.oss-cn-hangzhou.aliyuncs.com"}, "OSS_ENDPOINT", "不要带 Bucket", "bucket"),
    ({"OSS_ENDPOINT": "cn-hangzhou"}, "OSS_ENDPOINT", "只填了地域", "a region, not an address"),
    ({"OSS_ENDPOINT": "oss-cn-hangzhou"}, "OSS_ENDPOINT", "只填了地域", "a region, not an address"),
    ({"OSS_ENDPOINT": "https://oss-us-west-1-internal.aliyuncs.com"}, "OSS_ENDPOINT", "同一个地域", "one region"),
    (
        {"OSS_ENDPOINT": "https://oss.console.aliyun.com"},
        "OSS_ENDPOINT",
        "不是 OSS 的访问地址",
        "not an address of OSS",
    ),
    ({"ENDPOINT": "https://conv-abc.cn-hangzhou.fcapp.run"}, "ENDPOINT", "不填最好", "better leave it out"),
    ({"ENDPOINT": "https://1876543210987654.us-west-1.fc.aliyuncs.com"}, "ENDPOINT", "同一个地域", "one region"),
    ({"ENDPOINT": "https://1234567890123456.cn-hangzhou.fc.aliyuncs.com"}, "ENDPOINT", "换成你自己的", "your own"),
    ({"CHATGPT_BASE_URL": ""}, "CHATGPT_MODEL", "还要填 CHATGPT_BASE_URL", "set CHATGPT_BASE_URL as well"),
    *[
        ({"CHATGPT_BASE_URL": "", "CHATGPT_MODEL": model}, "CHATGPT_MODEL", "CHATGPT_BASE_URL", "CHATGPT_BASE_URL")
        for model in ("deepseek-chat", "glm-5.2", "kimi-k2.6", "doubao-seed-1-8-251228", "ep-20250101", "Qwen/Qwen3-8B")
    ],
    ({"CHATGPT_BASE_URL": "https://api.openai.com/v1"}, "CHATGPT_BASE_URL", "别家的模型", "OpenAI's address"),
    ({"CHATGPT_BASE_URL": DEEPSEEK}, "CHATGPT_MODEL", "deepseek-v4-flash", "deepseek-v4-flash"),
    ({"CHATGPT_MODEL": "gpt-6-luna"}, "CHATGPT_MODEL", "请填阿里云百炼的模型", "a model of Alibaba Model Studio"),
    *[
        ({"CHATGPT_BASE_URL": page}, "CHATGPT_BASE_URL", "网页", "page")
        for page in (
            "https://bailian.console.aliyun.com/",
            "https://help.aliyun.com/zh/model-studio",
            "https://platform.openai.com/api-keys",
            "https://chat.openai.com",
            "https://console.relay.example-of-ours.cn/token",
        )
    ],
    (
        {"CHATGPT_BASE_URL": "https://platform.deepseek.com/api_keys", "CHATGPT_MODEL": "deepseek-v4-flash"},
        *("CHATGPT_BASE_URL", "https://api.deepseek.com", "https://api.deepseek.com is right"),
    ),
    (
        {"CHATGPT_BASE_URL": "https://open.bigmodel.cn/usercenter/apikeys", "CHATGPT_MODEL": "glm-5.2"},
        *("CHATGPT_BASE_URL", "https://open.bigmodel.cn/api/paas/v4", "https://open.bigmodel.cn/api/paas/v4 is right"),
    ),
    ({"CHATGPT_BASE_URL": "https://dashscope.aliyuncs.com/api/v1"}, "CHATGPT_BASE_URL", "路径不对", "another path"),
    (
        {"CHATGPT_BASE_URL": DEEPSEEK, "CHATGPT_MODEL": "deepseek-ai/DeepSeek-V4-Flash"},
        *("CHATGPT_MODEL", "请填 DeepSeek 的模型", "put in a model of DeepSeek"),
    ),
    ({"DINGTALK_API": "https://open-dev.dingtalk.com"}, "DINGTALK_API", "不填就对了", "leave it out"),
    ({"SYSTEM_PROMPT": "回答要短 #不要表情"}, "SYSTEM_PROMPT", "用引号", "into quotes"),
    ({"CHATGPT_OPTIONS": '{"stop": "a #b"}'}, "CHATGPT_OPTIONS", "用引号", "into quotes"),
    ({"CHATGPT_OPTIONS": "{'a': 1}"}, "CHATGPT_OPTIONS", "JSON|引号", "a JSON object|quotation"),
    ({"HISTORY_LENGTH": "5000"}, "HISTORY_LENGTH", "0 到 1000 的整数", "a whole number from 0 to 1000"),
    ({"OSS_BUKET_NAME": "x"}, "OSS_BUKET_NAME", "应该是 OSS_BUCKET_NAME 吧？", "is it OSS_BUCKET_NAME?"),
    ({"REGON": "x"}, "REGON", "应该是 REGION 吧？", "is it REGION?"),
    ({"PORT": "8080"}, "PORT", "请检查名称。", "check the name."),
    (
        {"SECRET": "x"},
        "SECRET",
        "ACCESS_KEY_SECRET 或 DINGTALK_APP_SECRET",
        "ACCESS_KEY_SECRET or DINGTALK_APP_SECRET?",
    ),
]


@each_generation
@pytest.mark.parametrize(("changes", "name", "chinese", "cure"), WRONG)
def test_classic_mistake_is_named_with_line_and_cure(
    changes: dict[str, str], name: str, chinese: str, cure: str, generation: int
) -> None:
    """One sentence for each, in both languages, and no secret in it."""
    text = file_of(changes)
    number = [line.partition("=")[0] for line in text.splitlines()].index(name) + 1
    (sentence,) = told(text, generation)
    first, second = sentence.split(" / ", 1)
    assert first.startswith(f".env 第 {number} 行：") and re.search(re.escape(chinese).replace(r"\|", "|"), first)
    assert second.startswith(f".env line {number}: ") and re.search(re.escape(cure).replace(r"\|", "|"), second)
    assert not [secret for secret in (APP_SECRET, KEY_ID, KEY_SECRET, SIGNING_SECRET) if secret in sentence]


@each_generation
@pytest.mark.parametrize(
    ("name", "first", "last", "others"),
    [
        ("REGION", "REGION=cn-hangzhou\n", "REGION=cn-beijing", "1"),
        ("TIMEOUT", "\nTIMEOUT=5 # s\n", "export TIMEOUT='6'", "2"),
        ("TIMEOUT", "TIMEOUT=5\nTIMEOUT=6\nTIMEOUT=7\n", "TIMEOUT=6", "1, 3"),
        ("SYSTEM_PROMPT", 'SYSTEM_PROMPT="a\nb"\n', "SYSTEM_PROMPT=", "1"),
        ("CHATGPT_API_KEY", "CHATGPT_API_KEY=sk-2f6c1e0b9d8a47f3\n", "CHATGPT_API_KEY=", "1"),
    ],
)
def test_name_with_two_values_is_told_with_both_lines(
    name: str, first: str, last: str, others: str, generation: int
) -> None:
    """The tool takes the last one, also an empty one, and says nothing."""
    text = first + file_of({name: ""}) + last
    (sentence,) = told(text, generation)
    chinese, english = sentence.split(" / ", 1)
    number = text.count("\n") + 1
    assert chinese.startswith(f".env 第 {number} 行：{name} 在第 {others.replace(', ', '、')} 行还有别的值")
    assert english.startswith(f".env line {number}: {name} has another value on line {others};")
    assert "sk-" not in sentence


@each_generation
@pytest.mark.parametrize("before", ["REGION=\n", "REGION='cn-hangzhou' # again\n", "# REGION=cn-beijing\n"])
def test_name_that_stands_twice_without_another_value_is_not_told(before: str, generation: int) -> None:
    """Nothing is lost."""
    assert told(before + file_of({}), generation) == []


RIGHT_FILES: list[dict[str, str]] = [
    {},
    {"CHATGPT_BASE_URL": "", "CHATGPT_MODEL": "", "REGION": "us-west-1"},
    {"CHATGPT_BASE_URL": "", "CHATGPT_MODEL": "gpt-6-luna,gpt-6-sol", "REGION": "ap-southeast-1"},
    {"CHATGPT_BASE_URL": "", "CHATGPT_MODEL": "ft:gpt-6-luna:us::abc", "REGION": "eu-central-1"},
    {"CHATGPT_BASE_URL": "https://api.openai.com/v1", "CHATGPT_MODEL": "o9-mini", "REGION": "us-east-1"},
    {"CHATGPT_BASE_URL": DEEPSEEK, "CHATGPT_MODEL": "deepseek-v4-flash # 便宜"},
    {"CHATGPT_MODEL": "deepseek-v3"},
    {"CHATGPT_BASE_URL": "https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "REGION": "ap-southeast-1"},
    {"CHATGPT_BASE_URL": "https://ws-1.cn-beijing.maas.aliyuncs.com/compatible-mode/v1"},
    {"CHATGPT_BASE_URL": "https://open.bigmodel.cn/api/paas/v4/", "CHATGPT_MODEL": "glm-5.2"},
    {"CHATGPT_BASE_URL": "https://ark.cn-beijing.volces.com/api/v3/chat/completions", "CHATGPT_MODEL": "ep-2025-a"},
    {
        "CHATGPT_BASE_URL": "https://ark.cn-beijing.volces.com/api/v3",
        "CHATGPT_MODEL": "doubao-seed-1-8-251228",
        "CHATGPT_API_KEY": "12345678-90ab-cdef-1234-567890abcdef",
    },
    {"CHATGPT_BASE_URL": "https://api.siliconflow.cn/v1", "CHATGPT_MODEL": "Qwen/Qwen3-8B"},
    {"CHATGPT_BASE_URL": "https://openrouter.ai/api/v1", "CHATGPT_MODEL": "openai/gpt-5.2"},
    {"CHATGPT_BASE_URL": "https://www.relay-of-ours.cn/v1", "CHATGPT_MODEL": "gpt-6-luna"},
    {"CHATGPT_BASE_URL": "https://relay-of-ours.cn", "CHATGPT_MODEL": ""},
    {"CHATGPT_BASE_URL": "http://10.0.0.5:11434/v1", "CHATGPT_MODEL": "qwen3:8b", "CHATGPT_API_KEY": "ollama"},
    {"DINGTALK_APP_KEY": APP_KEY, "THINKING": "on"},
    {"ACCESS_KEY_ID": KEY_ID, "ACCESS_KEY_SECRET": KEY_SECRET},
    {"OSS_ENDPOINT": "https://oss-cn-hangzhou-internal.aliyuncs.com", "OSS_REGION": "cn-hangzhou"},
    {"OSS_ENDPOINT": "oss-cn-hangzhou.aliyuncs.com"},
    {"OSS_ENDPOINT": "https://oss-accelerate.aliyuncs.com", "OSS_REGION": "cn-hangzhou"},
    {"ENDPOINT": "https://1876543210987654.cn-hangzhou-internal.fc.aliyuncs.com"},
    {"OSS_BUCKET_NAME": "my-bucket", "DINGTALK_APP_SECRET": "an-example", "TIMEOUT": "60 # 秒"},
    {"SYSTEM_PROMPT": '"你是助手 #1。\n不要说 a=1 这样的话。"', "CHATGPT_OPTIONS": '{"enable_thinking": false}'},
    {"ALLOWED_USERS": "manager4501, 0147258602 # 小钉、小明", "DAILY_LIMIT": "100"},
]


@each_generation
@pytest.mark.parametrize("changes", RIGHT_FILES)
def test_right_file_is_not_named(changes: dict[str, str], generation: int) -> None:
    """Whatever looks a little like one of the mistakes."""
    assert told(file_of(changes), generation) == []


@pytest.mark.parametrize(
    "pair", [("DINGTALK_APP_KEY", "DINGTALK_APP_SECRET"), ("ACCESS_KEY_ID", "ACCESS_KEY_SECRET")], ids="/".join
)
def test_key_and_secret_that_are_swapped_are_both_named(pair: tuple[str, str]) -> None:
    """Each with its line."""
    key, secret = {"DINGTALK_APP_KEY": (APP_KEY, APP_SECRET)}.get(pair[0], (KEY_ID, KEY_SECRET))
    text = file_of({pair[0]: secret, pair[1]: key})
    lines = [line.partition("=")[0] for line in text.splitlines()]
    sentences = told(text)
    assert sorted(lines.index(name) + 1 for name in pair) == [
        int(re.findall(r"line (\d+)", sentence)[0]) for sentence in sentences
    ]
    assert all("are swapped" in sentence and "写反了" in sentence for sentence in sentences)


@pytest.mark.parametrize("value", ["TIMEOUT=5", "  TIMEOUT = 5", "AccessKeyID=x"])
def test_line_inside_a_value_that_2_reads_as_a_setting_is_named(value: str) -> None:
    """3.0 does not read it so; and where the file sets the name itself, the line has no effect on 2.0 either."""
    text = file_of({"SYSTEM_PROMPT": f'"first\n{value}\nlast"'})
    number = text.splitlines().index(value) + 1
    (sentence,) = told(text)
    assert f".env：第 {number} 行" in sentence and f".env: line {number} is inside the quotes" in sentence
    assert told(text, 3) == []
    if "TIMEOUT" in value:
        assert told(f"{text}TIMEOUT=60\n") == []


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("CHATGPT_KEY", "CHATGPT_API_KEY"),
        ("API_KEY", "CHATGPT_API_KEY"),
        ("APIKEY", "CHATGPT_API_KEY"),
        ("OPENAI_API_KEY", "CHATGPT_API_KEY"),
        ("OPENAI_KEY", "CHATGPT_API_KEY"),
        ("DEEPSEEK_API_KEY", "CHATGPT_API_KEY"),
        ("CHATGTP_API_KEY", "CHATGPT_API_KEY"),
        ("DINGTALK_SECRET", "DINGTALK_APP_SECRET"),
        ("DINGTALK_APP_SECERT", "DINGTALK_APP_SECRET"),
        ("dingtalk_app_secret", "DINGTALK_APP_SECRET"),
        ("DingTalk.AppSecret", "DINGTALK_APP_SECRET"),
        ("APPKEY", "DINGTALK_APP_KEY"),
        ("CLIENT_SECRET", "DINGTALK_APP_SECRET"),
        ("OSS_BUCKET", "OSS_BUCKET_NAME"),
        ("OSS_BUKET", "OSS_BUCKET_NAME"),
        ("BUCKET", "OSS_BUCKET_NAME"),
        ("OSS_ENDPIONT", "OSS_ENDPOINT"),
        ("MODEL", "CHATGPT_MODEL"),
        ("MODELS", "CHATGPT_MODEL"),
        ("CHATGPT_MODLE", "CHATGPT_MODEL"),
        ("BASE_URL", "CHATGPT_BASE_URL"),
        ("OPENAI_BASE_URL", "CHATGPT_BASE_URL"),
        ("PROMPT", "SYSTEM_PROMPT"),
        ("TIME_OUT", "TIMEOUT"),
        ("CHATGPT_TIMEOUT", "TIMEOUT"),
        ("ALLOW_USER", "ALLOWED_USERS"),
        ("ACCESS_KEY", "ACCESS_KEY_ID ACCESS_KEY_SECRET"),
        ("OPENAI_API_BASE", "CHATGPT_API_KEY CHATGPT_BASE_URL"),
        *[(name, "") for name in ("PORT", "DINGTALK_TOKEN", "NODE_ENV", "HTTP_PROXY", "LOG_PATH", "_", "X" * 5000)],
    ],
)
def test_name_that_is_none_suggests_those_that_share_its_parts(name: str, meant: str) -> None:
    """What people write for the settings; several where they fit alike, none where none does."""
    assert mistakes.settings_like(name, {each.name for each in check.VARIABLES["reply"]}) == meant.split()


def test_setting_with_a_misspelt_name_is_not_missing_as_well() -> None:
    """One cause, one sentence; but what the file has beside it is still looked at."""
    lines = {"DINGTALK_APP_SECRET": "", "DINGTALK_SECRET": APP_SECRET}
    for name, misspelt in (("DINGTALK_APP_SECRET", lines), ("REGION", {"REGION": "", "REGON": "cn-hangzhou"})):
        (sentence,) = told(file_of(misspelt))
        assert f"is it {name}?" in sentence
    for both in (
        told(file_of({**lines, "DINGTALK_APP_SECRET": "two words"})),
        told(file_of({**lines, "DINGTALK_APP_SECRET": "$LOST"})),
        told(file_of(lines), DINGTALK_APP_SECRET="two words"),
    ):
        assert sorted("is it DINGTALK_APP_SECRET?" in sentence for sentence in both) == [False, True]


def test_setting_that_is_one_of_two_meant_is_told_as_missing() -> None:
    """Nobody knows which of the two the misspelt one is."""
    missing, misspelt = sorted(told(file_of({"CHATGPT_API_KEY": "", "OPENAI_API_BASE": BAILIAN})), key=len)
    assert "CHATGPT_API_KEY is not set" in missing
    assert "is it CHATGPT_API_KEY or CHATGPT_BASE_URL?" in misspelt


@each_generation
@pytest.mark.parametrize("text", ["", "REGION=\n", "REGION=   \n"])
def test_region_that_is_not_set_is_named(text: str, generation: int) -> None:
    """On 2.0 the tool would deploy the text ${env(REGION)}, and on 3.0 nothing."""
    sentences = told(text + file_of({"REGION": ""}), generation)
    assert ["REGION is not set" in sentence and "REGION 没有设置" in sentence for sentence in sentences] == [True]


def test_value_with_a_variable_is_refused_on_3_because_it_would_be_sent() -> None:
    """The tool reports its failure home, with the text of the value."""
    for generation in (2, 3):
        (sentence,) = told(file_of({"CHATGPT_API_KEY": "sk-a${b}c"}), generation)
        assert ("reports home with its text" in sentence) == (generation == 3)


@pytest.mark.parametrize(
    ("region", "changes", "noted"),
    [
        ("cn-hangzhou", {"CHATGPT_BASE_URL": "", "CHATGPT_MODEL": ""}, True),
        ("cn-hongkong", {"CHATGPT_BASE_URL": "https://api.openai.com", "CHATGPT_MODEL": ""}, True),
        ("us-west-1", {"CHATGPT_BASE_URL": "", "CHATGPT_MODEL": ""}, False),
        ("cn-hangzhou", {}, False),
    ],
)
def test_openai_where_it_does_not_serve_is_noted(region: str, changes: dict[str, str], noted: bool) -> None:
    """It is no problem: the address may be one's own way out."""
    values = {**RIGHT, **changes, "REGION": region}
    assert bool(list(mistakes.notes(values))) == noted
    assert list(mistakes.find(values)) == []


@pytest.mark.parametrize(
    "text", ["https://[x", "http://", "//", "[::1]:80", "x" * 5000, "。", "\x00", "-" * 5000, "a-" * 3000]
)
def test_whatever_somebody_wrote_is_read_to_its_end(text: str) -> None:
    """In every setting: what no rule knows is left to the setting's own reader."""
    for name in (
        "REGION",
        "OSS_REGION",
        "OSS_ENDPOINT",
        "ENDPOINT",
        "CHATGPT_BASE_URL",
        "CHATGPT_MODEL",
        "DINGTALK_API",
    ):
        values = {**RIGHT, name: text}
        assert all(mistake.name in values for mistake in [*mistakes.find(values), *mistakes.notes(values)])


# --- the tables ---


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_service_is_the_one_of_the_documents(language: str) -> None:
    """Its address and its model stand in one row of the table, under its name."""
    page = (ROOT / "docs" / language / "services.md").read_text(encoding="utf-8")
    for service in services.SERVICES:
        name = service.english if language == "en" else service.chinese
        (row,) = [row for row in page.splitlines() if row.startswith(f"| {name} |") and row.count("|") == 6]
        assert f"`{service.model}`" in row
        assert f"`{service.address}`" in row or not service.address


@pytest.mark.parametrize("service", services.SERVICES, ids=lambda service: service.english)
def test_address_and_model_of_a_service_are_no_mistake(service: services.Service) -> None:
    """As `init` fills them in."""
    values = {**RIGHT, "REGION": "us-west-1", "CHATGPT_BASE_URL": service.address, "CHATGPT_MODEL": service.model}
    assert list(mistakes.find(values)) == []


@pytest.mark.parametrize("region", regions.REGIONS)
def test_region_is_meant_by_its_id_and_by_its_names(region: str) -> None:
    """In both languages, and in the addresses of OSS and Function Compute."""
    chinese, name = regions.REGIONS[region]
    assert regions.meant(region) == (region, False)
    assert regions.in_endpoint(f"https://oss-{region}-internal.aliyuncs.com") == region
    assert regions.in_endpoint(f"1876543210987654.{region}.fc.aliyuncs.com") == region
    if region.count("-") < 3:
        assert regions.meant(f"华东（{chinese}）")[0] == regions.meant(f"China ({name})")[0] == region

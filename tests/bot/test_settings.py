"""The environment variables of both functions: a table of them, and what people are told about a bad one."""

from __future__ import annotations

import logging
import re
from typing import Any, NamedTuple

import pytest

from bot import readers, settings
from bot.sentences import en, zh
from tests.helpers import Conversation, Reply, asked, field_cases
from tests.stand_ins.local_cloud import CONVERSATION, REPLY, LocalCloud

REQUIRED = object()


class Row(NamedTuple):
    """What one variable is without a value, what good values become, and what is no value for it."""

    function: str
    name: str
    default: Any
    good: dict[str, Any]
    bad: list[str]


SECRET: tuple[dict[str, Any], list[str]] = (
    {"sk-a_B.1/+=": "sk-a_B.1/+=", "~!": "~!"},
    [
        "two words",
        "密钥",
        "a\tb",
        '"sk-x"',
        "'x'",
        "“x”",
        "「x」",
        '"x',
        "Bearer x",
        "sk-***x",
        "sk-ab...yz",
        "${X}",
        "ｓｋ",
    ],
)
FC_NAME: tuple[dict[str, Any], list[str]] = (
    {"_a-B_1": "_a-B_1", "a" * 128: "a" * 128},
    ["a" * 129, "1a", "-a", "a.b", "a/b", "a b", "函数", "a\nb"],
)
ADDRESS = {
    "https://a.com": "https://a.com",
    "https://a.com/": "https://a.com",
    "a.com": "https://a.com",
    "a.com/": "https://a.com",
    "a.com:8443": "https://a.com:8443",
    "HTTPS://A-1.com": "https://A-1.com",
    "http://127.0.0.1:8080/": "http://127.0.0.1:8080",
    "https://a.com:65535": "https://a.com:65535",
}
NO_ADDRESS = [
    "ftp://a.com",
    "https://",
    "://a.com",
    "https:///v1",
    "https://me:secret@a.com",
    "a b.com",
    "https://[::1",
    "https://a.com?api-version=1",
    "https://a.com#top",
    "https://a.com:８４４３",
    "https://a.com:0",
    "https://a.com:65536",
    "https://a.com:99999",
    "https：//a.com",
    "https//a.com",
    "https://a.com?",
    "https://a.com#",
    "网址",
]
LEVEL: tuple[dict[str, Any], list[str]] = (
    {"DEBUG": 10, "debug": 10, "Warning": 30, "25": 25, "1": 1, "CRITICAL": 50},
    ["loud", "-1", "1.5", "²", "DEBUG INFO", "1001", "1" * 25, "9" * 5000, "无"],
)
REGION: tuple[dict[str, Any], list[str]] = (
    {
        "us-west-1": "us-west-1",
        "oss-us-west-1": "us-west-1",
        "US-West-1": "us-west-1",
        "oss-cn-beijing-internal": "cn-beijing",
        "https://oss-cn-shanghai-finance-1-internal.aliyuncs.com": "cn-shanghai-finance-1",
    },
    ["US West", "us_west_1", "美国", "shanghai", "oss-accelerate", "oss-accelerate-overseas.aliyuncs.com", "none"],
)
BUCKET: tuple[dict[str, Any], list[str]] = (
    {"example-bucket": "example-bucket", "a1b": "a1b", "a" * 63: "a" * 63},
    [
        "ab",
        "a" * 64,
        "Example",
        "-ab",
        "ab-",
        "a_b",
        "a.b",
        "oss://example",
        "b.oss-cn-beijing.aliyuncs.com",
        '"abc"',
        "ａｂｃ",
    ],
)
OPTIONS: tuple[dict[str, Any], list[str]] = (
    {"{}": {}, ' {"temperature": 0.5} ': {"temperature": 0.5}, '{"stop": ["。"]}': {"stop": ["。"]}}
    | {'{"tools": [{"type": "web_search"}]}': {"tools": [{"type": "web_search"}]}}
    | {'{"plugins": [{"id": "web"}], "enable_search": true}': {"plugins": [{"id": "web"}], "enable_search": True}}
    | {'{"web_search_options": {}}': {"web_search_options": {}}},
    [
        "[]",
        "null",
        "17",
        "temperature=1",
        "{",
        '{"model": "x"}',
        '{"stream": true}',
        '{"n": 2}',
        '{"messages": []}',
        '{"extra_body": {}}',
        '{"Stream": true}',
        '{" timeout": 5}',
        '{"tools": []}',
        '{"tools": {"type": "web_search"}}',
        '{"tools": ["web_search"]}',
        '{"tools": [{"type": "web_search"}, {"type": "function", "function": {"name": "f"}}]}',
        '{"tools": [{"type": "Function", "name": "f"}]}',
        '{"tools": [{"name": "f"}]}',
        '{"previous_response_id": "resp_1"}',
        '{"": 1}',
        '{"temperature": NaN}',
        '{"temperature": -Infinity}',
        '{"temperature": 1e999}',
        '{"temperature": 1, "temperature": 2}',
        '{"a": {"b": 1, "b": 2}}',
        "{“temperature”: 1}",
        "'{}'",
        "[" * 3000,
    ],
)
LIST: tuple[dict[str, Any], list[str]] = (
    {"manager4501": ("manager4501",), "a, b ，c,": ("a", "b", "c"), "cid+/==": ("cid+/==",)}
    | {"a、b；c;d\ne f": ("a", "b", "c", "d", "e", "f"), '["a", "b"]': ("a", "b"), "“a”，“b”": ("a", "b")},
    [",", " ， ,", "张三", "none"],  # nobody, or everybody? Better to ask
)
HOSTS: tuple[dict[str, Any], list[str]] = (
    {"dingtalk.com": ("dingtalk.com",), "A.com， 127.0.0.1,": ("a.com", "127.0.0.1")},
    [",", "https://a.com", "a.com:443", "*.a.com", ".com", "a.com/", "钉钉"],
)

LANGUAGE: tuple[Any, ...] = ("zh", {"zh": "zh", "en": "en"}, ["EN", "中文", "zh-CN", "fr"])
ROWS = [
    Row(CONVERSATION, "DINGTALK_APP_SECRET", REQUIRED, *SECRET),
    Row(CONVERSATION, "CHATGPT_FUNCTION", REPLY, *FC_NAME),
    Row(CONVERSATION, "SERVICE_NAME", None, *FC_NAME),
    Row(CONVERSATION, "ENDPOINT", None, ADDRESS, [*NO_ADDRESS, "https://a.com/v1"]),
    Row(CONVERSATION, "LANGUAGE", *LANGUAGE),
    Row(CONVERSATION, "VERBOSE", logging.INFO, *LEVEL),
    Row(REPLY, "CHATGPT_API_KEY", REQUIRED, *SECRET),
    Row(REPLY, "OSS_BUCKET_NAME", REQUIRED, *BUCKET),
    Row(REPLY, "OSS_ENDPOINT", None, ADDRESS, [*NO_ADDRESS, "https://a.com/v1"]),
    Row(REPLY, "OSS_REGION", None, *REGION),
    Row(REPLY, "ACCESS_KEY_ID", None, *SECRET),
    Row(REPLY, "ACCESS_KEY_SECRET", None, *SECRET),
    Row(
        REPLY,
        "CHATGPT_MODEL",
        ("gpt-6-luna",),
        {"a/b:free": ("a/b:free",), "@cf/m": ("@cf/m",), "假流式/m": ("假流式/m",), "a, b，c、a;": ("a", "b", "c")}
        | {",".join(map(str, range(20))): tuple(map(str, range(20)))},
        ["my model", "a\u200bb", "“m”", "无", ",", ",".join(map(str, range(21))), "a, b c"],
    ),
    Row(
        REPLY,
        "CHATGPT_BASE_URL",
        "https://api.openai.com",
        {**ADDRESS, "https://a.com/v1/": "https://a.com/v1", "a.com/api/v3": "https://a.com/api/v3"}
        | {"https://a.com/x/chat/completions/": "https://a.com/x/chat/completions"}
        | {"https://a.com/v1/responses": "https://a.com/v1/responses"},
        [*NO_ADDRESS, "https://a.com/v1/chat", "https://a.com/v1/messages", "https://a.com/v1/completions"],
    ),
    Row(REPLY, "CHATGPT_OPTIONS", {}, *OPTIONS),
    Row(REPLY, "SYSTEM_PROMPT", None, {"你是\n一只 猫。": "你是\n一只 猫。", "${user}": "${user}"}, []),
    Row(REPLY, "HISTORY_LENGTH", 10, {"0": 0, "1": 1, "1000": 1000}, ["-1", "1001", "many", "1.5", "1" * 25]),
    Row(REPLY, "HISTORY_MINUTES", None, {"1": 1, "1000000": 1_000_000}, ["0", "-1", "1000001", "an hour", "2.5"]),
    Row(
        REPLY,
        "HISTORY_SCOPE",
        "user",
        {"user": "user", "group": "group", "person": "person"},
        ["everyone", "user group"],
    ),
    Row(REPLY, "TIMEOUT", 55, {"1": 1, "3600": 3600, "６０": 60}, ["0", "3601", "-1", "long", "55.5", "55 s"]),
    Row(REPLY, "REPLY_FORMAT", "auto", {"auto": "auto", "text": "text", "markdown": "markdown"}, ["html", "auto text"]),
    Row(REPLY, "ALLOWED_USERS", (), *LIST),
    Row(REPLY, "ALLOWED_GROUPS", (), *LIST),
    Row(REPLY, "DAILY_LIMIT", None, {"1": 1, "10000": 10_000}, ["0", "-1", "10001", "many", "2.5"]),
    Row(REPLY, "DINGTALK_APP_KEY", None, *SECRET),
    Row(REPLY, "DINGTALK_APP_SECRET", None, *SECRET),
    Row(
        REPLY,
        "DINGTALK_API",
        "https://api.dingtalk.com",
        {"api.dingtalk.io": "https://api.dingtalk.io", "http://127.0.0.1:80": "http://127.0.0.1:80"}
        | {"http://localhost": "http://localhost"},
        ["http://api.dingtalk.com", "http://127.0.0.1.example.com", "https://api.dingtalk.com/v1.0", "ftp://a.com"],
    ),
    Row(REPLY, "THINKING", "off", {"on": "on", "off": "off"}, ["yes", "1", "on off"]),
    Row(REPLY, "WEBHOOK_HOSTS", ("dingtalk.com",), *HOSTS),
    Row(REPLY, "LANGUAGE", *LANGUAGE),
    Row(REPLY, "VERBOSE", logging.INFO, *LEVEL),
]
KINDS: dict[str, Any] = {CONVERSATION: settings.ConversationSettings, REPLY: settings.ReplySettings}
ENOUGH = {
    CONVERSATION: {"DINGTALK_APP_SECRET": "s"},
    REPLY: {"CHATGPT_API_KEY": "k", "OSS_BUCKET_NAME": "example-bucket"},
}


def rows_of(function: str) -> list[Row]:
    return [row for row in ROWS if row.function == function]


def row_id(row: Row) -> str:
    return f"{row.function.rpartition('_')[2]}-{row.name}"


def meaning(row: Row) -> str:
    """What people read behind the name."""
    return zh.SETTINGS[row.name]


def read(row: Row, text: str | None) -> tuple[Any, list[str]]:
    """The value of the row's variable when it has this text in an environment that is good by itself, and problems."""
    environ = {**ENOUGH[row.function]}
    environ.pop(row.name, None)
    if text is not None:
        environ[row.name] = text
    values, problems = settings.read_settings(KINDS[row.function], environ)
    return getattr(values, row.name.lower()), problems


each_row = pytest.mark.parametrize("row", ROWS, ids=row_id)
each_function = pytest.mark.parametrize("function", [CONVERSATION, REPLY])


# -- the table ------------------------------------------------------------------------------------------------


@each_function
def test_every_setting_of_the_file_is_in_the_table(function: str) -> None:
    """A new setting without a row here fails; so does a row for a setting that is gone."""
    names = [variable.name for variable in settings.variables(KINDS[function])]
    assert names == [row.name for row in rows_of(function)]
    assert len(set(names)) == len(names)


@each_function
def test_every_setting_says_what_it_means(function: str) -> None:
    """People read it when the value is bad; every setting has a check."""
    for name, check, _ in settings.variables(KINDS[function]):
        assert zh.SETTINGS[name] and en.SETTINGS[name]
        assert isinstance(check, (str, range)) or callable(check)


@each_row
@pytest.mark.parametrize("text", [None, "", "  ", "\t\r\n", "${env(X)}", " ${env(X, 'y')} "], ids=repr)
def test_an_unset_one_has_its_default(row: Row, text: str | None) -> None:
    """Empty is unset, and so is what `s deploy` writes for a variable that was not there."""
    value, problems = read(row, text)
    if row.default is REQUIRED:
        assert value is None
        assert problems == [f"{row.name} 没有设置（{meaning(row)}）"]
    else:
        assert (value, problems) == (row.default, [])


@pytest.mark.parametrize(
    ("row", "text", "wanted"),
    [pytest.param(row, text, row.good[text], id=f"{row_id(row)}-{text[:20]!r}") for row in ROWS for text in row.good],
)
def test_a_good_one_is_read(row: Row, text: str, wanted: object) -> None:
    """As it is, and with the blanks around it that come along when it is pasted."""
    for pasted in (text, f" \t{text}\r\n"):
        value, problems = read(row, pasted)
        assert (value, problems) == (wanted, [])
        assert type(value) is type(wanted)


@pytest.mark.parametrize(
    ("row", "text"),
    [pytest.param(row, text, id=f"{row_id(row)}-{text[:20]!r}") for row in ROWS for text in row.bad],
)
def test_a_bad_one_is_reported_by_name(row: Row, text: str) -> None:
    """With advice that does not repeat the value; the default stands in for it."""
    value, problems = read(row, text)
    (problem,) = problems
    assert problem.startswith(f"{row.name} 格式不对") and problem.endswith(f"（{meaning(row)}）")
    assert value == (None if row.default is REQUIRED else row.default)


def test_range_takes_whole_numbers_in_it() -> None:
    """Both ends included."""
    read_value, malformed = readers.read_value, readers.Malformed
    assert [read_value(text, range(3), True) for text in ("0", "+1", "2")] == [0, 1, 2]
    for text in ("-1", "3", "1.0", "1" * 5000):
        with pytest.raises(malformed, match="0 到 2"):
            read_value(text, range(3), True)


@each_function
def test_all_bad_ones_are_reported_together(function: str) -> None:
    """In the order of the table, so that nobody corrects one after the other."""
    rows = [row for row in rows_of(function) if row.bad]
    _, problems = settings.read_settings(KINDS[function], {row.name: row.bad[0] for row in rows})
    assert [problem.partition(" ")[0] for problem in problems] == [row.name for row in rows]


@each_function
def test_a_key_in_the_wrong_field_is_not_repeated(function: str) -> None:
    """It was pasted where it does not belong, and must not go on to the chat."""
    pasted = {row.name: "sk-do-not-show {\\ok" for row in rows_of(function)}
    _, problems = settings.read_settings(KINDS[function], pasted)
    lists = ("ALLOWED_USERS", "ALLOWED_GROUPS")  # any text may be an id
    assert len(problems) == len([row for row in rows_of(function) if row.bad and row.name not in lists])
    assert "do-not-show" not in "".join(problems)


@each_function
def test_other_variables_are_ignored(function: str) -> None:
    """FC puts many of its own there."""
    _, problems = settings.read_settings(
        KINDS[function], {**ENOUGH[function], "FC_REGION": "?", "ACCESS": "a b", "path": "x"}
    )
    assert problems == []


@each_function
def test_the_settings_of_one_run_do_not_reach_the_next(function: str) -> None:
    """Each reading starts from the defaults."""
    everything = {row.name: next(iter(row.good)) for row in rows_of(function)}
    _, problems = settings.read_settings(KINDS[function], everything)
    values, _ = settings.read_settings(KINDS[function], ENOUGH[function])
    assert problems == []
    for row in rows_of(function):
        if row.default is not REQUIRED:
            assert getattr(values, row.name.lower()) == row.default


# -- what people were reported to enter ---------------------------------------------------------------------------


@pytest.mark.parametrize("case", field_cases("settings"))
def test_reported_setting_has_its_outcome(reply: Reply, cloud: LocalCloud, case: dict[str, Any]) -> None:
    """The path that is asked, the setting that the chat names, or the question that gets through."""
    for name, value in case["environment"].items():
        reply.environment[name] = value.replace("{ai}", cloud.openai_api.url)
    message, expect = cloud.dingtalk.message("你好"), case["expect"]
    reply.run(message)
    if "path" in expect:
        assert cloud.openai_api.received[-1].path == expect["path"]
    if "chat" in expect:
        assert re.search(expect["chat"], cloud.dingtalk.shown(message)[0].text)
        assert not cloud.openai_api.received
    if "asked" in expect:
        assert cloud.openai_api.received if expect["asked"] is True else re.search(expect["asked"], asked(cloud))


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ('"x"', "不要加引号"),
        ("DINGTALK_APP_SECRET=x", "只填等号后面的内容"),
        ("Bearer x", "不要带 Bearer"),
        ("${X}", "没有被替换"),
        ("https://x", "不填网址"),
        ("ab***yz", "完整"),
        ("a b", "空白"),
        ("ａｂ", "全角"),
        ("a\u200bb", "看不见"),
    ],
)
def test_what_went_wrong_with_a_pasted_secret_is_said_on_the_page(
    conversation: Conversation, text: str, advice: str
) -> None:
    """With quotation marks around the secret every message would get a 403, and nobody would know why."""
    conversation.environment["DINGTALK_APP_SECRET"] = text
    page = conversation.call(method="GET").body.decode()
    assert "DINGTALK_APP_SECRET 格式不对" in page and advice in page
    assert text not in page.replace("DINGTALK_APP_SECRET 格式不对，只填", "")


def test_option_that_is_none_is_refused_by_its_name(reply: Reply) -> None:
    """Names are no secrets; values are not shown."""
    reply.environment["CHATGPT_OPTIONS"] = '{"extra_body": {"a": "do-not-show"}, "Stream": true, "temperature": 1}'
    shown = reply.ask("你好")
    assert "CHATGPT_OPTIONS 格式不对，不能有 extra_body、stream" in shown
    assert "do-not-show" not in shown


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("{'a': 1}", zh.DOUBLE_QUOTES),
        ("{a: 1}", zh.DOUBLE_QUOTES),
        ("{温度: 1}", zh.DOUBLE_QUOTES),
        ('{"a": low}', zh.DOUBLE_QUOTES),
        ('{\\"a\\": 1}', zh.DOUBLE_QUOTES),
        ('{"a": False}', zh.NO_PYTHON),
        ('{"a": 1,}', zh.NO_LAST_COMMA),
        ('{"a": [1, ]}', zh.NO_LAST_COMMA),
        ('{"a"：1}', zh.HALF_WIDTH),
        ("{“a”: 1}", zh.HALF_WIDTH),
        ('{"a": NaN}', zh.TOO_LARGE),
        ('{"a": 1e999}', zh.TOO_LARGE),
        ("[" * 100_000, zh.TOO_LARGE),
        ('{"a": 1, "a": 2}', zh.REPEATED),
        ('{"": 1}', '不能有 ""'),
        ('"{}"', zh.NO_QUOTES),
    ],
)
def test_mistake_in_options_has_its_word(text: str, advice: str) -> None:
    """JSON is written by hand, out of Python, or through a shell that takes its signs away."""
    with pytest.raises(readers.Malformed, match=re.escape(advice)):
        readers.read_options(text)


@pytest.mark.parametrize(
    ("name", "text", "advice"),
    [
        ("CHATGPT_MODEL", "gpt\u200b-6", zh.NO_BLANKS),
        ("CHATGPT_MODEL", "CHATGPT_MODEL=gpt-6", zh.ONLY_THE_VALUE),
        ("CHATGPT_MODEL", "CHATGPT_MODEL=", zh.ONLY_THE_VALUE),
        ("CHATGPT_API_KEY", "CHATGPT_MODEL=gpt-6", zh.ONLY_THE_VALUE),
        ("CHATGPT_MODEL", ",", zh.TOO_MANY.format(most=20)),
        ("OSS_ENDPOINT", "https://a.\ncom", zh.NO_BLANKS),
        ("OSS_REGION", "oss-accelerate.aliyuncs.com", zh.ACCELERATE),
        ("OSS_REGION", "OSS_REGION=us-west-1", zh.ONLY_THE_VALUE),
        ("OSS_REGION", "https://", None),
        ("OSS_ENDPOINT", "https://a.com:65536", zh.HTTPS),
        ("OSS_ENDPOINT", "https://a.com/v1", zh.NO_PATH),
        ("CHATGPT_BASE_URL", "https://a.com?x", zh.NO_QUERY),
        ("CHATGPT_BASE_URL", "https://a.com/v1/messages", zh.SERVICE_ADDRESS),
        ("ALLOWED_USERS", " ，", zh.LEAVE_EMPTY),
        ("ALLOWED_USERS", "张三", zh.IDS),
        ("WEBHOOK_HOSTS", "钉钉", None),
        ("VERBOSE", "loud", None),
        ("DAILY_LIMIT", "无", zh.LEAVE_EMPTY),
    ],
)
def test_advice_fits_what_was_entered(name: str, text: str, advice: str | None) -> None:
    """Where nothing special went wrong, what the setting means says enough."""
    why = zh.WHY.format(advice=advice) if advice else ""
    _, problems = settings.read_settings(settings.ReplySettings, {**ENOUGH[REPLY], name: text})
    assert problems == [zh.MALFORMED.format(name=name, why=why, meaning=zh.SETTINGS[name])]


@pytest.mark.parametrize(
    ("name", "texts", "chinese", "english"),
    [
        ("OSS_BUCKET_NAME", BUCKET[1], "3 到 63 个小写字母、数字和短横线", "3 to 63 lower-case letters, digits"),
        ("CHATGPT_FUNCTION", FC_NAME[1], "128 个字母、数字、下划线和短横线", "128 letters, digits, underscores"),
        ("SERVICE_NAME", FC_NAME[1], "128 个字母、数字、下划线和短横线", "128 letters, digits, underscores"),
        (
            "ENDPOINT",
            ["https://a:b@c.com", "https://a.com:99999", "https://a_b.com"],
            *["https://example.com:8443"] * 2,
        ),
        ("OSS_REGION", REGION[1], "us-west-1", "us-west-1"),
        ("ALLOWED_USERS", LIST[1], "例如 manager4501", "such as manager4501"),
        ("ALLOWED_GROUPS", LIST[1], "例如 cid", "such as cid"),
        ("WEBHOOK_HOSTS", HOSTS[1], "例如 dingtalk.com", "such as dingtalk.com"),
        ("CHATGPT_API_KEY", ["${X}"], "直接填值", "enter the value itself"),
    ],
)
def test_what_a_right_one_looks_like_is_said(name: str, texts: list[str], chinese: str, english: str) -> None:
    """In both languages, whatever is wrong with it."""
    (kind,) = {KINDS[row.function] for row in ROWS if row.name == name}
    for language, words in (("en", english), ("zh", chinese)):
        for text in texts:
            (problem,) = settings.read_settings(kind, {**ENOUGH[REPLY], **ENOUGH[CONVERSATION], name: text}, language)[
                1
            ]
            assert words in problem, text


def test_full_width_colon_in_an_address_is_named() -> None:
    """A Chinese keyboard makes it, and it looks right."""
    with pytest.raises(readers.Malformed, match=zh.HALF_WIDTH):
        readers.read_address("https：//a.com")


# -- what people are told ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "text"),
    [
        *(pytest.param(row, row.bad[0], id=row_id(row)) for row in rows_of(CONVERSATION)),
        pytest.param(rows_of(CONVERSATION)[0], None, id="nothing"),
    ],
)
def test_a_bad_setting_of_conversation_is_told_in_the_answer(
    conversation: Conversation, row: Row, text: str | None
) -> None:
    """The chat shows it, by name and never by value."""
    conversation.environment[row.name] = text
    answer = conversation.post()
    assert answer.status == 200
    assert row.name in answer.chat_text and meaning(row) in answer.chat_text
    assert text is None or text not in answer.chat_text
    assert conversation.cloud.function_compute.received == []


@pytest.mark.parametrize(
    ("row", "text"),
    [
        # Not WEBHOOK_HOSTS: the default stands in for a bad one, and the local chat is not at dingtalk.com.
        *(
            pytest.param(row, max(row.bad, key=len), id=row_id(row))
            for row in rows_of(REPLY)
            if row.bad and row.name != "WEBHOOK_HOSTS"
        ),
        *(pytest.param(row, None, id=f"no {row.name}") for row in rows_of(REPLY) if row.default is REQUIRED),
    ],
)
def test_a_bad_setting_of_reply_is_told_in_the_chat(reply: Reply, row: Row, text: str | None) -> None:
    """By name and never by value, and before anything is asked of ChatGPT."""
    reply.environment[row.name] = text
    shown = reply.ask("你好")
    assert row.name in shown and meaning(row) in shown
    assert text is None or text not in shown
    assert reply.cloud.openai_api.received == []


@pytest.mark.parametrize("name", ["ACCESS_KEY_ID", "ACCESS_KEY_SECRET"])
@pytest.mark.parametrize("other", [None, "", "${env(X)}"])
def test_half_an_access_key_is_told_in_the_chat(reply: Reply, name: str, other: str | None) -> None:
    """One without the other is a mistake, and not a reason to use the role instead."""
    reply.environment.update({"ACCESS_KEY_ID": other, "ACCESS_KEY_SECRET": other, name: "do-not-show"})
    shown = reply.ask("你好")
    assert "ACCESS_KEY_ID" in shown and "ACCESS_KEY_SECRET" in shown
    assert "do-not-show" not in shown


def test_several_bad_settings_of_reply_are_told_together(reply: Reply) -> None:
    """One message is enough to correct them all."""
    reply.environment.update(CHATGPT_API_KEY=None, TIMEOUT="long", ACCESS_KEY_ID="half")
    shown = reply.ask("你好")
    assert "CHATGPT_API_KEY 没有设置" in shown and "TIMEOUT 格式不对" in shown and "ACCESS_KEY_SECRET" in shown


def test_a_bad_setting_of_reply_is_in_the_self_check_too(reply: Reply) -> None:
    """The console's test event finds it before anybody chats."""
    reply.environment["HISTORY_SCOPE"] = "everyone"
    report = reply.run(b"{}")
    assert any("HISTORY_SCOPE" in text for text in report.values())
    assert "everyone" not in str(report)

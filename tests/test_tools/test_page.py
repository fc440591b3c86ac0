"""The playground's page, used in a real browser as a person uses it."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import requests
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

from tests.helpers import png
from tests.playground.browser import CHROMIUM, DRIVER, HOW_TO_GET_IT, chromium, set_colours, set_size
from tests.playground.chat import Chat
from tests.playground.page import Page as PlaygroundPage
from tests.stand_ins.local_cloud import ROOT, LocalCloud
from tests.test_tools.test_playground import started

T = TypeVar("T")
AXE = ROOT / "tests/data/axe/axe.min.js"  # axe-core 4.14.1, as its makers publish it
WAIT_SECONDS = 30  # for what takes one second on a quiet machine

pytestmark = [
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason=HOW_TO_GET_IT),
    pytest.mark.xdist_group("page"),  # one browser for all of them
]


class Page:
    """The page as a person sees and uses it."""

    def __init__(self, url: str, browser: Chrome) -> None:
        self.url = url
        self.browser = browser

    def open(self) -> None:
        """Fresh: nothing said yet, every fault off."""
        self.ask("start_over")
        self.browser.get(self.url)
        self.eventually(lambda: self.all("#people label"))
        if self.one("html").get_attribute("lang") != "zh-CN":
            self.click("#language")
        self.eventually(lambda: "。" in self.text("#settings-rows"))

    def ask(self, name: str, **body: object) -> None:
        """What a button of the page does, without the button."""
        requests.post(f"{self.url}api/{name}", json=body, timeout=WAIT_SECONDS).raise_for_status()

    def one(self, selector: str) -> WebElement:
        return self.all(selector)[0]

    def all(self, selector: str) -> list[WebElement]:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def click(self, selector: str) -> None:
        self.one(selector).click()

    def choose(self, kind: str) -> None:
        """The kind of the next message."""
        Select(self.one("#kind")).select_by_value(kind)

    def say(self, text: str) -> None:
        self.one("#text").send_keys(text + Keys.ENTER)

    def hear(self, text: str, last: bool = True) -> None:
        """Wait until the bot's last bubble, or any one, has the text."""

        def heard() -> bool:
            bubbles = [words for sender, words in self.bubbles() if sender.startswith("ChatGPT")]
            return any(text in words for words in (bubbles[-1:] if last else bubbles))

        self.eventually(heard)

    def bubbles(self) -> list[tuple[str, str]]:
        """Who said what, as it stands in the chat."""
        script = """return [...document.querySelectorAll(".bubble")].map(
            (each) => [each.querySelector(".name")?.innerText ?? "", each.querySelector(".words").innerText])"""
        return [(name, words) for name, words in self.browser.execute_script(script)]

    def steps(self) -> list[str]:
        """The kinds of the steps that the way shows."""
        script = """return [...document.querySelectorAll("#steps details")].map((each) => each.classList[1])"""
        return list(self.browser.execute_script(script))

    def settled(self) -> None:
        """Wait until no step of the message is under way."""
        self.eventually(lambda: self.steps()[-1:] == ["oss_mark"] and not self.all("#steps .running"))

    def text(self, selector: str) -> str:
        return str(
            self.browser.execute_script("return document.querySelector(arguments[0])?.innerText ?? ''", selector)
        )

    def eventually(self, found: Callable[[], T]) -> T:
        """What is found as soon as it is true."""
        until = time.monotonic() + WAIT_SECONDS
        while not (result := found()):
            if time.monotonic() > until:
                raise AssertionError(f"not within {WAIT_SECONDS} s; the chat: {self.bubbles()}; steps: {self.steps()}")
            time.sleep(0.05)
        return result


@pytest.fixture(scope="module")
def shared_page() -> Iterator[Page]:
    """One playground and one browser for all tests."""
    with started("--no-browser", TZ="Asia/Shanghai") as (process, url):
        with chromium() as driver:
            yield Page(url, driver)
        process.send_signal(signal.SIGINT)
        try:
            process.wait(WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


@pytest.fixture
def page(shared_page: Page) -> Iterator[Page]:
    """The page in Chinese, with nothing on it, and without an error in the browser's console at the end."""
    shared_page.open()
    yield shared_page
    told = shared_page.browser.get_log("browser")  # type: ignore[no-untyped-call]
    # What a page of another playground still asked for, which has ended, is none of this one's.
    assert [entry for entry in told if shared_page.url in entry["message"]] == []


@pytest.mark.full
def test_private_chat_remembers(page: Page) -> None:
    """The second answer needs the first question."""
    page.say("我叫小明")
    page.hear("你好，小明！")
    page.say("我叫什么？")
    page.hear("你叫小明。")
    assert page.bubbles()[0] == ("", "我叫小明")
    assert page.all(".bubble.mine") and page.one(".bubble.theirs .tag").text == "机器人"


@pytest.mark.full
def test_clear_forgets(page: Page) -> None:
    """The bot's own command, as in DingTalk."""
    page.say("我叫小明")
    page.hear("你好，小明！")
    page.say("\\clear")
    page.hear("忘")
    page.say("我叫什么？")
    page.hear("我还不知道你叫什么")


@pytest.mark.full
def test_group_answer_names_the_asker(page: Page) -> None:
    """In the group the asker is @-ed by name, and the private chat stays as it was."""
    page.say("你好")
    page.hear("有什么可以帮你")
    page.click("[data-place=group]")
    assert page.bubbles() == []
    page.click("input[value=小明]")
    page.say("1+1=?")
    page.hear("@小明 1+1=2")
    assert [each.text for each in page.all(".theirs .at")] == ["@小明"]
    assert page.bubbles()[0][1] == "@ChatGPT 1+1=?"
    page.click("[data-place=private]")
    page.click("input[value=小钉]")
    assert [words for _, words in page.bubbles()] == ["你好", "你好！有什么可以帮你？"]


@pytest.mark.full
def test_markdown_is_rendered(page: Page) -> None:
    """Headings, code, lists and links, and a table as DingTalk can show it."""
    page.say("给我一段代码")
    page.hear("两数之和")
    assert page.one(".markdown .heading.h2").text == "两数之和"
    assert "def add(a: int, b: int)" in page.one(".markdown pre").text
    assert len(page.all(".markdown li")) == 4  # two of them were rows of the table
    assert not page.all(".markdown table")
    assert page.one(".markdown a").get_attribute("rel") == "noopener noreferrer"


@pytest.mark.full
def test_uploaded_picture_is_shown(page: Page) -> None:
    """By its media_id; one at an address of the web is only named."""
    with LocalCloud() as cloud, PlaygroundPage(chat := Chat(cloud)) as own:
        cloud.dingtalk.api.media["@lADPex"] = png(7, 5)
        sent = chat.send("小钉", "private", "text", "你好")
        cloud.dingtalk.wait_shown(1, sent.message, WAIT_SECONDS)
        cloud.function_compute.wait_idle(WAIT_SECONDS)
        text = "![圆](@lADPex)\n\n![网上的](https://example.com/a.png)"
        reply = {"msgtype": "markdown", "markdown": {"title": "图", "text": text}}
        requests.post(sent.message["sessionWebhook"], json=reply, timeout=WAIT_SECONDS).raise_for_status()
        page.browser.get(own.url)
        seen = "return [...document.querySelectorAll('.markdown img')].map((each) => [each.alt, each.naturalWidth])"
        page.eventually(lambda: page.browser.execute_script(seen) == [["圆", 7]])
        assert "[网上的]" in page.text(".markdown")


@pytest.mark.full
def test_html_in_an_answer_is_only_text(page: Page) -> None:
    """An answer of ChatGPT runs nothing in the page."""
    page.say("**x** <img src=x onerror=alert(1)> [link](javascript:alert(1))")
    page.hear("<img src=x")
    assert page.all(".markdown strong")
    assert not page.all(".markdown img") and not page.all(".markdown a")


@pytest.mark.full
def test_long_answer_comes_in_order(page: Page) -> None:
    """Several bubbles, numbered."""
    page.say("写一篇长文")
    page.hear("（3/", last=False)
    page.settled()
    numbers = [re.search(r"（(\d)/\d）", words) for sender, words in page.bubbles() if sender.startswith("ChatGPT")]
    assert [found and found[1] for found in numbers] == [str(n + 1) for n in range(len(numbers))]


@pytest.mark.full
def test_fault_brings_its_sentence(page: Page) -> None:
    """Switched on, the person sees what to do; switched off, the answer."""
    page.click("#tab-faults")
    page.click("#switch-chatgpt_balance")
    page.eventually(lambda: "on" in (page.one("#tab-faults").get_attribute("class") or ""))
    page.say("1+1=?")
    page.hear("余额或额度用完了")
    page.click("#switch-chatgpt_balance")
    page.eventually(lambda: "on" not in (page.one("#tab-faults").get_attribute("class") or ""))
    page.say("2+2=?")
    page.hear("2+2=4")


@pytest.mark.full
@pytest.mark.parametrize(
    ("fault", "heard"),
    [("oss_down", "OSS 错误 ServiceUnavailable"), ("chatgpt_down", "ChatGPT 暂时出错了"), ("fc_repeats", "1+1=2")],
)
def test_each_fault_brings_one_reply(page: Page, fault: str, heard: str) -> None:
    """Whatever fails, the person gets one bubble."""
    page.ask("switch", names=[fault])
    page.say("1+1=?")
    page.hear(heard)
    page.eventually(lambda: not page.all("#steps .running"))
    assert len(page.bubbles()) == 2


@pytest.mark.full
def test_fault_that_is_switched_off_is_over(page: Page) -> None:
    """Also if Function Compute refused what it was to run twice: a redelivery."""
    page.ask("switch", names=["fc_repeats"])
    page.say("1+1=?")
    page.hear("1+1=2")
    page.eventually(lambda: page.steps().count("oss_journal") == 2)
    page.click("#again")
    page.eventually(lambda: page.steps().count("invoke") == 2)
    page.ask("switch", names=[])
    page.say("1+2=?")
    page.hear("1+2=3")
    page.settled()
    assert page.steps().count("oss_journal") == 1


@pytest.mark.full
def test_reply_that_dingtalk_refused_comes_later(page: Page) -> None:
    """The webhook takes nothing; Function Compute runs the event again, and then it does."""
    page.ask("switch", names=["webhook_refuses"])
    page.say("1+1=?")
    page.eventually(lambda: "webhook" in page.steps())
    assert len(page.bubbles()) == 1
    page.ask("switch", names=[])
    page.hear("1+1=2")
    page.settled()
    assert page.steps().count("chatgpt") == 1


@pytest.mark.full
def test_total_is_told_only_when_all_is_over(page: Page) -> None:
    """Meanwhile the chat shows nothing, as in DingTalk, and the way shows the step that takes so long."""
    page.ask("switch", names=["chatgpt_slow"])
    page.say("1+1=?")
    page.eventually(lambda: page.all("#steps .chatgpt.running"))
    assert page.text("#way-title") == "消息 1：1+1=? 进行中"
    assert page.text("#bubbles").split("\n")[-1] == "1+1=?"
    page.hear("1+1=2")
    page.settled()
    page.eventually(lambda: re.fullmatch(r"消息 1：1\+1=\? 总共 8\.\d s", page.text("#way-title")))


@pytest.mark.full
def test_redelivery_is_answered_once(page: Page) -> None:
    """Function Compute knows the message; the way shows its 409, and the chat says what came of it."""
    page.say("1+1=?")
    page.hear("1+1=2")
    page.settled()
    page.click("#again")
    page.eventually(lambda: "没有第二次回答" in page.text("#bubbles"))
    page.eventually(lambda: not page.all("#steps .running"))
    assert [each.text for each in page.all(".note")] == ["消息 1 又推送了一次：已经回答过，没有第二次回答"]
    assert [each.text for each in page.all(".invoke .badge")] == ["202", "409"]
    assert page.text("#steps .again") == "第 2 次推送"
    assert len(page.bubbles()) == 2


@pytest.mark.full
def test_ten_at_once_get_ten_answers(page: Page) -> None:
    """In the group from everybody; on several instances, and every way is its own."""
    page.click("[data-place=group]")
    page.click("#ten")
    sums = [f"{n}+1={n + 1}" for n in range(1, 11)]
    page.eventually(lambda: sum(sender.startswith("ChatGPT") for sender, _ in page.bubbles()) == 10)
    answers = [words.split()[-1] for sender, words in page.bubbles() if sender.startswith("ChatGPT")]
    assert sorted(answers) == sorted(sums)
    page.settled()
    for bubble in ("1", "5", "10"):
        page.browser.execute_script(f"document.querySelector('#bubble-{bubble} .tools button:last-child').click()")
        page.settled()
        kinds = page.steps()
        assert [kinds.count(kind) for kind in ("push", "invoke", "chatgpt", "webhook")] == [1, 1, 1, 1]


@pytest.mark.full
def test_way_shows_every_step(page: Page) -> None:
    """From DingTalk to DingTalk, cold starts marked; a step opens to its request and answer, without secrets."""
    page.ask("set")  # restarts both functions
    page.say("我叫小明")
    page.settled()
    wanted = [
        "push",
        "invoke",
        "queue",
        "run",
        "oss_journal",
        "chatgpt",
        "oss_words",
        "oss_turn",
        "webhook",
        "oss_mark",
    ]
    assert page.steps() == wanted
    assert [each.text for each in page.all(".badge.cold")] == ["冷启动", "冷启动"]
    for kind in wanted:
        page.browser.execute_script(f"document.querySelector('#steps .{kind}').open = true")
        page.eventually(lambda kind=kind: page.text(f".{kind} .detail"))  # type: ignore[misc]
    opened = page.text("#steps")
    assert "sign: •••" in opened and "我叫小明" in page.text(".chatgpt .detail")
    assert "errcode" in page.text(".webhook .detail")
    assert "[INFO]" in page.text(".run .detail")
    for secret in ("sk-example", "example-token", "example-secret", "STS.example-id"):
        assert secret not in opened
    assert not re.search(r"session=\w", opened)


@pytest.mark.full
def test_journal_and_log_show_the_newest_line(page: Page) -> None:
    """The object in OSS line by line, and what both functions logged: from the end, and following it."""
    page.click("#tab-journal")
    page.say("我叫小明")
    page.eventually(lambda: len(page.all("#lines li")) == 1)
    assert '"question": "我叫小明"' in page.text("#lines")
    for number in range(8):
        page.say(f"{number}+1=?")
        page.hear(f"{number}+1={number + 1}")
    page.eventually(lambda: len(page.all("#lines li")) == 9)
    assert from_end(page, "journal") < 60
    page.click("#tab-log")
    assert from_end(page, "log") == 0
    page.say("你好")
    page.eventually(lambda: page.text("#log-lines").count("answered in") == 10)
    assert from_end(page, "log") == 0
    assert "Dingtalk_Conversation" in page.text("#log-lines")
    assert "我叫小明" not in page.text("#log-lines")
    ids = [re.findall(r"[0-9a-f]{8}-[0-9a-f-]{27}", each.text) for each in page.all("#log-lines li")]
    assert {len(each) for each in ids} == {1}
    page.browser.execute_script("byId('log').scrollTop = 0")
    page.say("1+1=?")
    page.eventually(lambda: page.text("#log-lines").count("answered in") == 11)
    assert page.browser.execute_script("return byId('log').scrollTop") == 0


def from_end(page: Page, panel: str) -> float:
    """How many pixels of the panel are below what is seen."""
    script = f"const panel = byId('{panel}'); return panel.scrollHeight - panel.scrollTop - panel.clientHeight"
    return float(page.browser.execute_script(script))


@pytest.mark.full
def test_setting_can_be_tried(page: Page) -> None:
    """A deployer sets a limit, sees it work, checks the settings, and takes it back."""
    page.click("#tab-settings")
    field = page.eventually(lambda: page.all("[data-name=DAILY_LIMIT]"))[0]
    field.send_keys("1" + Keys.ENTER)
    page.eventually(lambda: "已应用" in page.text("#report"))
    page.say("1+1=?")
    page.hear("1+1=2")
    page.say("1+1=?")
    page.hear("提问机会已经用完")
    page.click("#check")
    page.eventually(lambda: "设置齐全" in page.text("#report") and "ChatGPT: ok" in page.text("#report"))
    page.click("#take-back")
    page.eventually(lambda: "已还原" in page.text("#report") and "没有发现问题" in page.text("#report"))
    assert page.one("[data-name=DAILY_LIMIT]").get_property("value") == ""
    page.say("1+1=?")
    page.hear("1+1=2")


@pytest.mark.full
def test_wrong_setting_is_told_beside_its_field(page: Page) -> None:
    """Applying runs the self-check; the other fields stay quiet."""
    page.click("#tab-settings")
    field = page.eventually(lambda: page.all("[data-name=HISTORY_LENGTH]"))[0]
    field.send_keys("许多" + Keys.ENTER)
    try:
        page.eventually(lambda: "自检发现 1 项" in page.text("#report"))
        (wrong,) = page.all("[aria-invalid=true]")
        assert wrong.get_attribute("data-name") == "HISTORY_LENGTH"
        told = [each for each in page.all("#settings .wrong") if each.is_displayed()]
        assert [each.text.split("，")[0] for each in told] == ["HISTORY_LENGTH 格式不对"]
        assert told[0].get_attribute("id") in (wrong.get_attribute("aria-describedby") or "").split()
    finally:
        page.ask("set", Dingtalk_ChatGPT_Reply={"HISTORY_LENGTH": None})


@pytest.mark.full
def test_starting_over_says_that_settings_stay(page: Page) -> None:
    """Before, on the button, and after."""
    page.say("1+1=?")
    page.hear("1+1=2")
    assert "设置保留" in (page.one("#start-over").get_attribute("title") or "")
    page.click("#start-over")
    page.eventually(lambda: "设置没有变" in page.text("#done"))
    assert page.bubbles() == [] and page.all(".welcome") and page.all("#preview .bar")


@pytest.mark.full
@pytest.mark.parametrize("language", [0, 1], ids=["zh", "en"])
def test_every_setting_has_a_text_of_its_own(page: Page, language: int) -> None:
    """No two fields say the same, none is empty, and the punctuation is that of the language."""
    page.browser.execute_script(f"setLanguage({language}); openTab('settings')")
    page.eventually(lambda: ("。" in page.text("#settings-rows small")) == (language == 0))
    rows = page.all("#settings-rows .setting")
    texts = [row.find_element(By.CSS_SELECTOR, "small").text for row in rows]
    names = [row.find_element(By.CSS_SELECTOR, "code").text for row in rows]
    assert len({*zip(names, texts, strict=True)}) == len(set(texts)) and all(texts)
    assert not re.search(r"；（|[。.]{2}|;", "".join(texts))
    assert all(text.isascii() for text in texts) == (language == 1)


@pytest.mark.full
def test_missing_setting_is_named_by_both(page: Page) -> None:
    """The sentence in the chat and the self-check name the variable; a secret's value is never shown."""
    page.ask("set", Dingtalk_Conversation={"DINGTALK_APP_SECRET": ""})
    try:
        page.click("#tab-settings")
        page.eventually(lambda: page.all("[data-name=CHATGPT_API_KEY]"))
        assert page.one("[data-name=CHATGPT_API_KEY]").get_attribute("value") == ""
        page.say("你好")
        page.hear("DINGTALK_APP_SECRET")
    finally:
        page.ask("set", Dingtalk_Conversation={"DINGTALK_APP_SECRET": None})


@pytest.mark.full
@pytest.mark.parametrize(
    ("kind", "heard"),
    [
        ("voice", "1+1=2"),
        ("rich_text", "我看到 1 张图片：PNG"),
        ("picture", "我看到 1 张图片：PNG"),
        ("text_file", "新版本下周一发布"),
        ("file", "这个文件我读不了"),
        ("video", "视频"),
        ("sticker", "读不了这种消息"),
        ("card", "国庆节从 10 月 1 日放到 7 日"),
        ("record", "小红：下周一"),
    ],
)
def test_each_kind_of_message_is_answered(page: Page, kind: str, heard: str) -> None:
    """By its words, or with a sentence that says what the bot cannot read; then people write again."""
    page.choose(kind)
    if page.one("#text").is_displayed():
        page.one("#text").send_keys("1+1=?")
    else:
        assert "点“发送”" in page.text("#wordless")
    page.click("#composer .primary")
    page.hear(heard)
    assert page.one("#text").is_displayed()


@pytest.mark.full
def test_chosen_picture_is_seen_by_the_bot(page: Page, tmp_path: Path) -> None:
    """It stands in the chat, the model says what it is, and the way shows how it got there, without the token."""
    file = tmp_path / "dot.png"
    file.write_bytes(png(7, 5))
    page.choose("picture")
    page.one("#file").send_keys(str(file))
    page.eventually(lambda: page.text("#chosen") == "dot.png")
    page.click("#composer .primary")
    page.hear(f"我看到 1 张图片：PNG，7×5 像素，{len(png(7, 5))} 字节")
    assert page.text("#chosen") == ""
    page.eventually(
        lambda: page.browser.execute_script("return document.querySelector('#bubble-1 img.picture').naturalWidth") == 7
    )
    page.settled()
    assert {"api_download", "api_file"} < set(page.steps())
    for kind in ("api_download", "api_file", "chatgpt"):
        page.browser.execute_script(f"document.querySelector('#steps .{kind}').open = true")
        page.eventually(lambda kind=kind: page.text(f".{kind} .detail"))  # type: ignore[misc]
    opened = page.text("#steps")
    assert "x-acs-dingtalk-access-token: •••" in opened and "Signature=•••" in opened
    assert "example-app-secret" not in opened


@pytest.mark.full
def test_picture_can_be_dropped_into_the_chat(page: Page) -> None:
    """In the group it goes with the @."""
    page.click("[data-place=group]")
    script = """
        const data = new DataTransfer();
        data.items.add(new File([Uint8Array.from(arguments[0])], "dropped.png", { type: "image/png" }));
        const given = { dataTransfer: data, bubbles: true, cancelable: true };
        byId("bubbles").dispatchEvent(new DragEvent("drop", given));"""
    page.browser.execute_script(script, list(png(3, 4)))
    page.eventually(lambda: page.text("#chosen") == "dropped.png")
    page.click("#composer .primary")
    page.hear("我看到 1 张图片：PNG，3×4 像素")
    assert page.bubbles()[0][1].startswith("@ChatGPT") and page.bubbles()[1][1].startswith("@小钉")


@pytest.mark.full
def test_chat_looks_as_in_dingtalk(page: Page) -> None:
    """No own name above own bubbles, a picture without a frame, a voice with its length, one time for one minute."""
    for number, kind in ((2, "voice"), (4, "picture")):
        page.choose(kind)
        if page.one("#text").is_displayed():
            page.one("#text").send_keys("1+1=?")
        page.click("#composer .primary")
        page.eventually(lambda number=number: len(page.bubbles()) == number)  # type: ignore[misc]
    assert not page.all(".mine .name") and len(page.all(".theirs .name")) == 2
    assert page.text("#bubble-1 .voice") == "4″"
    background = "return getComputedStyle(document.querySelector('#bubble-2 .words')).backgroundColor"
    assert page.browser.execute_script(background) == "rgba(0, 0, 0, 0)"
    assert 1 <= len(page.all("#bubbles time")) <= 2  # the minute may change


@pytest.mark.full
def test_quotation_reaches_the_bot(page: Page) -> None:
    """The quoted words stand in the bubble and in what ChatGPT is asked."""
    page.say("明天下午三点开会")
    page.hear("明天下午三点开会")
    page.browser.execute_script("document.querySelector('#bubble-1 .quote').click()")
    assert "明天下午三点开会" in page.text("#quoted")
    page.say("这是什么意思")
    page.hear("这是什么意思")
    assert page.text("#bubble-2 blockquote") == "明天下午三点开会"
    page.settled()
    page.browser.execute_script("document.querySelector('#steps .chatgpt').open = true")
    page.eventually(lambda: page.text(".chatgpt .detail").count("明天下午三点开会") >= 2)


@pytest.mark.full
def test_page_speaks_two_languages(page: Page) -> None:
    """Every text of the page changes, and none is missing."""
    chinese = [each.text for each in page.all("[data-text]") if each.is_displayed()]
    page.click("#language")
    english = [each.text for each in page.all("[data-text]") if each.is_displayed()]
    assert page.one("html").get_attribute("lang") == "en"
    assert all(english) and all(one != other for one, other in zip(chinese, english, strict=True))
    pairs = page.browser.execute_script("return Object.values(TEXTS)")
    assert all(len(pair) == 2 and all(pair) for pair in pairs)


@pytest.mark.full
def test_keyboard_is_enough(page: Page) -> None:
    """Tabs by arrow keys, Shift+Enter for a new line, a name for everything that can be used."""
    page.click("#tab-way")
    page.one("#tab-way").send_keys(Keys.ARROW_RIGHT)
    assert page.one("#tab-journal").get_attribute("aria-selected") == "true"
    assert page.one("#journal").is_displayed() and not page.one("#way").is_displayed()
    page.one("#text").send_keys("a" + Keys.SHIFT + Keys.ENTER + Keys.SHIFT + "b")
    assert page.one("#text").get_property("value") == "a\nb"
    usable = [each for each in page.all("button, input, select, textarea") if each.is_displayed()]
    assert all(each.accessible_name for each in usable)


@pytest.mark.full
def test_field_to_write_in_is_near(page: Page) -> None:
    """However long the chat is, Tab leads from it to the field at once, and arrow keys to its buttons."""
    for number in range(3):
        page.say(f"{number}+1=?")
        page.hear(f"{number}+1={number + 1}")
    focused = "return document.activeElement.id || document.activeElement.className"
    page.browser.execute_script("byId('bubbles').focus()")
    page.browser.switch_to.active_element.send_keys(Keys.TAB)
    assert page.browser.execute_script(focused) == "text"
    page.browser.execute_script("byId('bubbles').focus()")
    for key in (Keys.ARROW_UP, Keys.ARROW_UP, Keys.ARROW_RIGHT):
        page.browser.switch_to.active_element.send_keys(key)
    assert page.browser.execute_script(focused) == "quote"
    page.browser.switch_to.active_element.send_keys(Keys.ENTER)
    assert "2+1=?" in page.text("#quoted")
    assert page.browser.execute_script(focused) == "text"


@pytest.mark.full
@pytest.mark.parametrize("language", [0, 1], ids=["zh", "en"])
def test_every_example_is_answered(page: Page, language: int) -> None:
    """In the language of the page, but for the bot's own words to a picture or a file; then the next one is near."""
    page.browser.execute_script(f"setLanguage({language})")
    names = [each.text for each in page.all(".welcome .example b")]
    assert len(names) == 13 and all(each.isascii() == bool(language) for each in names)
    for number, name in enumerate(names):
        if number:
            page.click("#show-examples")
        page.click(f"{'#examples' if number else '.welcome'} .example:nth-child({number + 1})")
        said = number + 2  # the first example is two messages
        page.eventually(lambda said=said: page.all(f"[id^='bubble-{said}-']"))  # type: ignore[misc]
        page.settled()
        answer = page.text(f"[id^='bubble-{said}-'] .words")
        assert number in (6, 7, 8) or bool(re.search("[\u4e00-\u9fff]", answer)) == (language == 0), name
    assert page.text("#bubble-2-0 .words") == ("你叫小钉。", "Your name is Ann.")[language]
    assert page.all("#bubble-3-0 ol") and page.all("#bubble-3-0 pre")
    assert page.all("#bubble-5-0 ul ul ul") and page.all("#bubble-5-0 ul ol")
    assert page.all("#bubble-6-0 blockquote p + p") and page.all("[id='bubble-7-2']")
    assert page.all("#bubble-12-0 li strong") and "*" not in page.text("#bubble-12-0 .words")
    assert "\\frac" in page.text("#bubble-13-0 .words") and "[1]" in page.text("#bubble-13-0 .words")
    assert page.all("[id='bubble-14-19']") and not page.all("[id='bubble-14-20']")


@pytest.mark.full
def test_group_has_examples_of_its_own(page: Page) -> None:
    """Each person has a history there, the bot @-s who asked, and ten can ask at once."""
    page.click("[data-place=group]")
    examples = [each.text for each in page.all(".welcome .example b")]
    assert "各记各的" in examples and "记住名字" not in examples
    page.click(".welcome .example:nth-child(2)")
    page.hear("@小明 你叫小明。")
    answers = [words for sender, words in page.bubbles() if sender.startswith("ChatGPT")]
    assert answers[1].startswith("@小红 我还不知道你叫什么")
    page.settled()
    page.click("#show-examples")
    page.click("#examples .example:nth-child(3)")
    page.eventually(lambda: sum(sender.startswith("ChatGPT") for sender, _ in page.bubbles()) == 13)


@pytest.mark.full
def test_step_looks_as_if_it_opens(page: Page) -> None:
    """A triangle that turns, and a hint that stays."""
    script = "return getComputedStyle(document.querySelector('#steps summary'), '::before').content"
    page.say("1+1=?")
    page.settled()
    assert page.browser.execute_script(script) == '"▶"'
    assert page.text("#way-hint").startswith("点开一步")
    page.click("#steps summary")
    assert page.browser.execute_script(script) == '"▼"'
    page.eventually(lambda: "sign: •••" in page.text("#steps"))


@pytest.mark.full
@pytest.mark.parametrize("width", [1280, 390, 320])
@pytest.mark.parametrize("language", [0, 1], ids=["zh", "en"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(page: Page, scheme: str, language: int, width: int) -> None:
    """Contrast, names, roles, headings: everything that axe can judge, in every part of the page, with one H1."""
    set_colours(page.browser, scheme)
    set_size(page.browser, width, 800)
    try:
        page.browser.execute_script(f"setLanguage({language})")
        page.browser.execute_script(AXE.read_text(encoding="utf-8"))
        found = violations(page)
        page.browser.execute_script("play(EXAMPLES.private[0]); 0")
        page.eventually(lambda: page.all("#bubble-2-0"))
        page.say("**x** long")
        page.eventually(lambda: page.all("#bubble-3-2"))
        page.ask("send", person="小钉", place="private", kind="picture")
        page.settled()
        page.browser.execute_script("openExtras(true)")
        page.click("#again")
        page.browser.execute_script("setKind('picture'); showExamples(true); byId('bubble-3-0').focus()")
        found += violations(page)
        page.browser.execute_script("showExamples(false); openChats(true)")
        found += violations(page)
        assert len(page.all("h1")) == 1
        page.ask("set", Dingtalk_ChatGPT_Reply={"TIMEOUT": "no"})
        page.browser.execute_script("openChats(false); setView('inside')")
        for tab in ("way", "journal", "log", "faults", "settings"):
            page.browser.execute_script(f"openTab('{tab}')")
            if tab == "settings":
                page.click("#check")
                page.eventually(lambda: page.all("#settings [aria-invalid=true]"))
            found += violations(page)
        assert found == []
        dark = (
            page.browser.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
        )
        assert dark == (scheme == "dark")
    finally:
        page.ask("set", Dingtalk_ChatGPT_Reply={"TIMEOUT": None})
        set_colours(page.browser, "light")
        set_size(page.browser, 1280, 800)


def violations(page: Page) -> list[str]:
    """What axe finds, of every weight: rule and place. Then what is too low to touch."""
    script = """
        const done = arguments[arguments.length - 1];
        axe.run().then(({ violations }) => done(violations.flatMap(({ id, impact, nodes }) =>
            nodes.map(({ target, any }) => `${impact} ${id} ${target} ${any.map(({ message }) => message)}`))))"""
    low = """
        const seen = (each) => each.checkVisibility({ visibilityProperty: true });
        const touched = "button, input:not([type=radio], [type=checkbox]), select, label, summary";
        return [...document.querySelectorAll(touched)]
            .filter((each) => seen(each) && each.getBoundingClientRect().height < 32)
            .map((each) => `low ${each.outerHTML.slice(0, 80)}`)"""
    return [*page.browser.execute_async_script(script), *page.browser.execute_script(low)]


@pytest.mark.full
@pytest.mark.parametrize("width", [390, 320])
@pytest.mark.parametrize("language", [0, 1], ids=["zh", "en"])
def test_titles_are_whole_on_a_phone(page: Page, language: int, width: int) -> None:
    """Neither the page's nor a message's nor a step's is cut."""
    set_size(page.browser, width, 800)
    try:
        page.browser.execute_script(f"setLanguage({language})")
        page.say("请用一句话说说，为什么一个函数计算上的机器人要分成两个函数来写")
        page.settled()
        page.click(".views [data-view=inside]")
        assert cut(page) == []
        assert "为什么一个函数计算上的机器人要分成两个函数来写" in page.text("#way-title")
    finally:
        set_size(page.browser, 1280, 800)


def cut(page: Page) -> list[str]:
    """What is wider than its place, or sticks out of the page."""
    script = """
        const all = "h1, h2, .title, .what, .facts, button, label, select, .words, .words span, legend, small, p";
        return [...document.querySelectorAll(all)]
            .filter((each) => each.checkVisibility() && each.clientWidth)
            .filter((each) => each.scrollWidth > each.clientWidth || each.getBoundingClientRect().right > innerWidth)
            .map((each) => each.id || each.innerText)"""
    return list(page.browser.execute_script(script))


@pytest.mark.full
@pytest.mark.parametrize(("width", "height"), [(640, 400), (390, 400), (320, 400)])
@pytest.mark.parametrize("language", [0, 1], ids=["zh", "en"])
def test_half_of_a_small_screen_is_chat(page: Page, language: int, width: int, height: int) -> None:
    """At 200 % zoom, and with a phone's keyboard open: the list of people and the extras are behind a button each."""
    set_size(page.browser, width, height)
    try:
        page.browser.execute_script(f"setLanguage({language})")
        page.say("1+1=?")
        page.hear("1+1=2")
        assert page.browser.execute_script("return byId('bubbles').clientHeight") >= height / 2
        assert cut(page) == []
        page.click("#where")
        assert cut(page) == []
        page.click("input[value=小明]")
        page.click("[data-place=group]")
        assert not page.one("#chats").is_displayed()
        page.click("#more")
        assert cut(page) == []
        page.choose("picture")
        page.click("#composer .primary")
        page.eventually(lambda: len(page.bubbles()) == 2)
        name = ("小明", "Ming")[language]
        assert str(page.one(".mine").get_attribute("aria-label")).startswith(name) and name in page.text("#where")
    finally:
        set_size(page.browser, 1280, 800)


@pytest.mark.full
@pytest.mark.parametrize("width", [1280, 390])
def test_bot_at_work_is_said_outside_of_the_chat(page: Page, width: int) -> None:
    """With the seconds; gone when the answer is there."""
    set_size(page.browser, width, 800)
    try:
        page.ask("switch", names=["chatgpt_slow"])
        page.say("1+1=?")
        page.eventually(lambda: re.fullmatch(r"机器人正在处理 · [1-9]\d* s（钉钉里没有这一行）", page.text("#working")))
        assert "正在处理" not in page.text("#bubbles") and page.one("#working").is_displayed()
        page.hear("1+1=2")
        page.eventually(lambda: not page.one("#working").is_displayed())
    finally:
        set_size(page.browser, 1280, 800)


@pytest.mark.full
def test_new_message_below_is_announced(page: Page) -> None:
    """Whoever reads further up stays there; a click leads to the new one."""
    page.say("写一篇长文")
    page.settled()
    page.browser.execute_script("byId('bubbles').scrollTop = 0")
    assert not page.one("#newer").is_displayed()
    page.ask("send", person="小钉", place="private", kind="text", text="1+1=?")
    page.eventually(lambda: page.one("#newer").is_displayed())
    assert page.browser.execute_script("return byId('bubbles').scrollTop") == 0
    page.click("#newer")
    page.eventually(lambda: not page.one("#newer").is_displayed())
    assert from_end(page, "bubbles") < 80


@pytest.mark.full
def test_push_slower_than_dingtalk_waits_is_marked(page: Page) -> None:
    """The badge says how long DingTalk waits."""
    page.say("1+1=?")
    page.settled()
    assert "2.5 s" not in page.text("#steps")
    page.browser.execute_script("state.messages[0].steps[0].slow = true; drawWay()")
    assert page.text(".push .badge.bad") == "超过 2.5 s"


@pytest.mark.full
def test_file_of_ones_own_is_read(page: Page, tmp_path: Path) -> None:
    """Its name stands in the chat, its words reach the model."""
    (tmp_path / "笔记.md").write_text("# 周三去爬山", encoding="utf-8")
    page.choose("text_file")
    page.one("#file").send_keys(str(tmp_path / "笔记.md"))
    page.eventually(lambda: page.text("#chosen") == "笔记.md")
    page.click("#composer .primary")
    page.hear("周三去爬山")
    assert page.bubbles()[0] == ("", "MD笔记.md")


@pytest.mark.full
def test_quoted_picture_reaches_the_bot(page: Page) -> None:
    """Not only words can be quoted."""
    page.choose("picture")
    page.click("#composer .primary")
    page.hear("我看到 1 张图片")
    page.browser.execute_script("document.querySelector('#bubble-1 .quote').click()")
    page.say("这里面有什么？")
    page.eventually(lambda: page.all("#bubble-2-0"))
    assert "我看到 1 张图片" in page.text("#bubble-2-0")


@pytest.mark.full
def test_enter_that_ends_the_choice_of_a_word_sends_nothing(page: Page) -> None:
    """Some browsers say so by the number 229 only."""
    page.one("#text").send_keys("1+1=?")
    script = "byId('text').dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', bubbles: true, keyCode: %d}))"
    page.browser.execute_script(script % 229)
    time.sleep(1)  # nothing to wait for
    assert page.bubbles() == [] and page.one("#text").get_property("value") == "1+1=?"
    page.browser.execute_script(script % 13)
    page.hear("1+1=2")


@pytest.mark.full
def test_language_stays_after_a_reload(page: Page) -> None:
    """As it was chosen."""
    page.click("#language")
    page.browser.refresh()
    page.eventually(lambda: page.text("#people"))
    assert page.one("html").get_attribute("lang") == "en" and "Hong" in page.text("#people")


@pytest.mark.full
def test_english_page_has_english_people(page: Page) -> None:
    """In the chat, and for the bot: a person's name goes with the message."""
    page.browser.execute_script("setLanguage(1)")
    page.click("[data-place=group]")
    page.click("input[value=小明]")
    page.say("12*12=?")
    page.hear("@Ming 12*12=144")
    page.settled()
    page.browser.execute_script("document.querySelector('#steps .push').open = true")
    page.eventually(lambda: '"senderNick": "Ming"' in page.text(".push .detail"))
    assert page.text("#chat-title").startswith("Test group")


@pytest.mark.full
def test_what_was_done_is_told_without_moving_the_page(page: Page) -> None:
    """Above everything; a click takes it away."""
    script = "return byId('tabs').getBoundingClientRect().top"
    before = page.browser.execute_script(script)
    page.click("#start-over")
    page.eventually(lambda: page.one("#done").is_displayed())
    assert page.browser.execute_script(script) == before
    page.click("#done")
    assert not page.one("#done").is_displayed()


@pytest.mark.full
def test_code_can_be_copied(page: Page) -> None:
    """All of it, without what the page shows around it."""
    page.browser.execute_cdp_cmd(
        "Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    )
    page.say("给我一段代码")
    page.hear("两数之和")
    page.click(".copy")
    page.eventually(lambda: "已复制" in page.text("#done"))
    read = "navigator.clipboard.readText().then(arguments[arguments.length - 1])"
    copied = page.browser.execute_async_script(read)
    assert copied.startswith("def add(a: int, b: int) -> int:\n") and copied.rstrip().endswith("print(add(1, 2))")


@pytest.mark.full
@pytest.mark.parametrize("width", [1280, 320])
def test_tools_of_a_bubble_cover_no_name(page: Page, width: int) -> None:
    """Neither its own nor one of another bubble."""
    set_size(page.browser, width, 800)
    try:
        page.ask("send", person="小明", place="group", kind="text", text="1+1=?")
        page.ask("send", person="小钉", place="group", kind="text", text="1+2=?")
        page.ask("send", person="小钉", place="group", kind="text", text="1+3=?")
        page.browser.execute_script("document.querySelector('[data-place=group]').click()")
        page.eventually(lambda: len(page.bubbles()) == 6)
        script = """
            const covered = [];
            const place = (each) => each.getBoundingClientRect();
            for (const bubble of document.querySelectorAll(".bubble")) {
                bubble.focus();
                const tools = place(bubble.querySelector(".tools"));
                for (const name of document.querySelectorAll(".name")) {
                    const { left, right, top, bottom } = place(name);
                    if (tools.left < right && left < tools.right && tools.top < bottom && top < tools.bottom)
                        covered.push(`${bubble.id} covers ${name.innerText}`);
                }
                if (tools.right > innerWidth || tools.left < 0) covered.push(`${bubble.id} sticks out`);
            }
            return covered"""
        assert page.browser.execute_script(script) == []
    finally:
        set_size(page.browser, 1280, 800)


@pytest.mark.full
def test_command_in_the_help_can_be_tapped(page: Page) -> None:
    """The link sends it, as the person who taps."""
    page.say("\\help")
    page.hear("\\status")
    page.browser.execute_script("document.querySelector('[data-says*=status]').click()")
    page.hear("版本")
    assert page.bubbles()[2][1].strip("\\") in ("status", "状态")


@pytest.mark.full
def test_group_says_that_the_at_is_added(page: Page) -> None:
    """In the field, before anything is written."""
    page.click("[data-place=group]")
    assert "会自动 @ 机器人" in (page.one("#text").get_attribute("placeholder") or "")


@pytest.mark.full
def test_usual_settings_come_first_and_are_chosen(page: Page) -> None:
    """One of a few words is a choice, a prompt has several lines; both are tried."""
    page.click("#tab-settings")
    page.eventually(lambda: page.all("[data-name=REPLY_FORMAT]"))
    assert page.text("#settings-rows legend") == "常用"
    assert page.one("[data-name=SYSTEM_PROMPT]").tag_name == "textarea"
    try:
        Select(page.one("[data-name=REPLY_FORMAT]")).select_by_value("text")
        page.click("#settings-form .primary")
        page.eventually(lambda: "没有发现问题" in page.text("#report"))
        page.say("给我一段代码")
        page.hear("## 两数之和")
    finally:
        page.ask("set", Dingtalk_ChatGPT_Reply={"REPLY_FORMAT": None})


@pytest.mark.full
def test_log_has_the_time_of_the_chat_and_its_line_breaks(page: Page) -> None:
    """Function Compute writes UTC; the playground of these tests is in another zone."""
    page.say("1+1=?")
    page.settled()
    page.click("#tab-log")
    hours = {entry[11:13] for entry in re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d", page.text("#log-lines"))}
    assert page.text("#bubbles time")[:2] in hours and len(hours) <= 2
    page.browser.execute_script("document.querySelector('#steps .run').open = true")
    page.eventually(lambda: page.browser.execute_script("return document.querySelector('.run .detail').textContent"))
    assert not re.search(r"\d\d:\d\d:\d\d\.\d+Z", page.text("body"))
    assert page.browser.execute_script("return getComputedStyle(document.querySelector('.log code')).whiteSpace") == (
        "pre-wrap"
    )


@pytest.mark.full
@pytest.mark.parametrize("width", [1280, 390])
def test_page_fits_its_width(page: Page, width: int) -> None:
    """Nothing sticks out, on a desktop and on a phone."""
    set_size(page.browser, width, 800)
    try:
        page.say("给我一段代码")
        page.hear("两数之和")
        for view in ("chat", "inside"):
            if width == 390:
                page.click(f".views [data-view={view}]")
            assert page.browser.execute_script("return document.documentElement.scrollWidth") == width
            assert page.one("#text").is_displayed() == (width == 1280 or view == "chat")
    finally:
        set_size(page.browser, 1280, 800)

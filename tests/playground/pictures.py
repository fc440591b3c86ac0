"""`python3 -m tests.playground.pictures`: makes the READMEs' pictures anew, from the real page in a real browser."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.packages import provide

if __name__ == "__main__":
    provide("tests/requirements.txt", "tests.playground.pictures")

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.playground.browser import CHROMIUM, DRIVER, HOW_TO_GET_IT, chromium, set_size
from tests.playground.chat import Chat
from tests.playground.page import Page
from tests.playground.way import watch
from tests.stand_ins.local_cloud import LocalCloud

FOLDER = Path(__file__).with_name("pictures")
WAIT_SECONDS = 30


def main() -> int:
    """The exit status: 0, or 1 without a browser."""
    if not (CHROMIUM and DRIVER):
        print(HOW_TO_GET_IT, file=sys.stderr)
        return 1
    FOLDER.mkdir(exist_ok=True)
    with LocalCloud() as cloud:
        watch(cloud)
        chat = Chat(cloud)
        with Page(chat) as page, chromium() as browser:
            browser.get(page.url)
            take(browser, chat, page.url)
    return 0


def take(browser: Chrome, chat: Chat, address: str) -> None:
    """All pictures, of one conversation that runs through them."""
    for text in ("我叫小明", "我叫什么？", "列一张水果价目表"):
        say(chat, "小明", "private", text)
    say(chat, "小明", "group", "1+1=?")
    say(chat, "小红", "group", "我叫什么？")
    say(chat, "小红", "group", "我叫小红")
    for place in ("private", "group"):
        set_size(browser, 390, 600)
        look(browser, 0, place, "小明")
        hidden = browser.execute_script("return byId('bubbles').scrollHeight - byId('bubbles').clientHeight")
        set_size(browser, 390, 600 + hidden)
        photograph(browser, "#bubbles", f"{place}.png")
    set_size(browser, 1180, 610)
    for language, name in ((0, "way.zh.png"), (1, "way.en.png")):
        look(browser, language, "group", "小明")
        photograph(browser, ".inside", name)


def say(chat: Chat, nick: str, place: str, text: str) -> None:
    """Wait for the answer, so that the pictures are the same every time but for the clock."""
    sent = chat.send(nick, place, "text", text)
    chat.cloud.dingtalk.wait_shown(1, sent.message, WAIT_SECONDS)
    chat.cloud.function_compute.wait_idle(WAIT_SECONDS)


def look(browser: Chrome, language: int, place: str, nick: str) -> None:
    """Turn the page to this chat, through the eyes of this person."""
    WebDriverWait(browser, WAIT_SECONDS).until(lambda _: browser.find_elements(By.CSS_SELECTOR, "#people label"))
    browser.execute_script(f"setLanguage({language}); document.querySelector('[value={nick}]').click()")
    browser.execute_script(f"document.querySelector('[data-place={place}]').click()")
    time.sleep(1)  # the page asks for news four times a second
    browser.execute_script("const list = byId('bubbles'); list.scrollTop = list.scrollHeight")


def photograph(browser: Chrome, selector: str, name: str) -> None:
    browser.find_element(By.CSS_SELECTOR, selector).screenshot(str(FOLDER / name))


if __name__ == "__main__":
    sys.exit(main())

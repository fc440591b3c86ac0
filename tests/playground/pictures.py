"""`python3 -m tests.playground.pictures`: makes the pictures of the documents anew, from the real page in a browser."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.packages import provide

if __name__ == "__main__":
    provide("tests/playground/pictures/requirements.txt", "tests.playground.pictures")

from PIL import Image
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.playground.browser import CHROMIUM, DRIVER, HOW_TO_GET_IT, chromium, set_size
from tests.playground.chat import Chat
from tests.playground.page import Page
from tests.playground.way import watch
from tests.stand_ins.local_cloud import LocalCloud
from tests.stand_ins.server import Fault

FOLDER = Path(__file__).with_name("pictures")
WAIT_SECONDS = 30
COLOURS = 96  # of the moving picture: enough for letters, and few bytes
KEY_MS, THINK_MS, READ_MS = 70, 1500, 3200
# What is asked in the moving picture, and what the model answers: None is the stand-in's own answer.
FILM = (
    (
        ("列一张水果价目表", None),
        ("买 10 斤香蕉要多少钱？", "香蕉 4 元/斤，买满 10 斤打九折：**4 × 10 × 0.9 = 36 元**。"),
    ),
    (
        ("Make a price list of fruit", None),
        (
            "How much are ten pounds of bananas?",
            "Bananas are 4 yuan, and ten pounds or more are 10 % cheaper: **4 × 10 × 0.9 = 36 yuan**.",
        ),
    ),
)


def main() -> int:
    """The exit status: 0, or 1 without a browser."""
    if not (CHROMIUM and DRIVER):
        print(HOW_TO_GET_IT, file=sys.stderr)
        return 1
    with LocalCloud() as cloud:
        watch(cloud)
        chat = Chat(cloud)
        with Page(chat) as page, chromium() as browser:
            browser.get(page.url)
            for language, name in enumerate(("zh", "en")):
                save_film(list(film(browser, chat, language)), FOLDER / f"chat.{name}.gif")
            take_ways(browser, chat)
    return 0


def take_ways(browser: Chrome, chat: Chat) -> None:
    """The timeline of one message, in both languages."""
    chat.start_over()
    say(chat, "小明", "group", "我叫小明")
    set_size(browser, 1180, 610)
    for language, name in enumerate(("way.zh.png", "way.en.png")):
        look(browser, language, "group", "小明")
        browser.find_element(By.CSS_SELECTOR, ".inside").screenshot(str(FOLDER / name))


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


def film(browser: Chrome, chat: Chat, language: int) -> Iterator[tuple[bytes, int]]:
    """Somebody writes, the bot thinks and answers, twice: pictures, and how many milliseconds each is shown."""
    say(chat, "小钉", "private", "1+1=?")  # so that no cold start is in it
    chat.start_over()
    set_size(browser, 1240, 600)
    look(browser, language, "private", "小钉")
    yield browser.get_screenshot_as_png(), 600
    for number, (question, answer) in enumerate(FILM[language], start=1):
        for end in range(1, len(question) + 1, 1 + language):
            browser.execute_script("byId('text').value = arguments[0]", question[:end])
            yield browser.get_screenshot_as_png(), KEY_MS
        browser.execute_script("byId('text').value = arguments[0]", question)
        if answer:
            chat.cloud.openai_api.answer_next(answer)
        chat.cloud.openai_api.plan(Fault(delay=THINK_MS / 1000))
        browser.execute_script("send(); 0")
        started = time.monotonic()
        while number not in [bubble["message"] for bubble in chat.bubbles() if not bubble["from"]]:
            before, picture = time.monotonic(), browser.get_screenshot_as_png()
            time.sleep(0.1)
            yield picture, round(1000 * (time.monotonic() - before))
            if time.monotonic() - started > WAIT_SECONDS:
                raise TimeoutError("no answer")
        chat.cloud.function_compute.wait_idle(WAIT_SECONDS)
        time.sleep(1)
        browser.execute_script("const list = byId('bubbles'); list.scrollTop = list.scrollHeight")
        yield browser.get_screenshot_as_png(), READ_MS


def save_film(frames: list[tuple[bytes, int]], file: Path) -> None:
    """An animated GIF, which every reader of Markdown shows."""
    pictures = [Image.open(io.BytesIO(data)).convert("RGB") for data, _ in frames]
    palette = pictures[-1].quantize(COLOURS, dither=Image.Dither.NONE)
    reduced = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    durations = [ms for _, ms in frames]
    reduced[0].save(file, save_all=True, append_images=reduced[1:], duration=durations, loop=0, optimize=True)


if __name__ == "__main__":
    sys.exit(main())

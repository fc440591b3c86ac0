"""A few rules in the place of a model: what the stand-in for the OpenAI API answers to what was said."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from .canned_answers import BOLD, ENDLESS, FORMULA, LONG, MARKDOWN, NESTED_LIST, PAINTED, PRICES, QUOTATION, STEPS

QUOTE_CHARACTERS = 200  # an answer quotes no more than this of what was said


@dataclass(frozen=True)
class Talk:
    """What one request holds of a conversation, in order."""

    system: str  # system and developer messages
    questions: tuple[str, ...]  # what the person said; the last one is to be answered
    replies: tuple[str, ...]  # what was answered before
    pictures: tuple[str, ...] = ()  # of the last question: format and size


# "我是来问问题的" and "我是不是该睡了" are no introductions, "我是谁" is a question.
INTRODUCTION = re.compile(
    r"我(?:叫|是|的名字[是叫])\s*(?!什么|啥|谁|哪|不|来|在|想|要)([\w·]{1,8})(?=$|[\s，,。！!.～~])"
    r"|\b(?:my name is|call me)\s+([\w-]+)",
    re.IGNORECASE | re.MULTILINE,
)
NUMBER = r"\s*(\d{1,12}(?:\.\d{1,6})?)\s*"
SUM = rf"^{NUMBER}([-+*/×÷]){NUMBER}(?:=|＝|等于|是)?\s*(?:几|多少)?\s*[?？]?\s*$"


def shortened(text: str) -> str:
    return text if len(text) <= QUOTE_CHARACTERS else text[:QUOTE_CHARACTERS] + "……"


def is_english(question: str) -> bool:
    """Whether all is ASCII but for marks like [图片], which the bot puts in."""
    return re.sub(r"\[[^\[\]]*\]", "", question).isascii()


def greet(found: re.Match[str], talk: Talk) -> str:
    if is_english(talk.questions[-1]):
        return "Hello! How can I help you?"
    return "你好！有什么可以帮你？"


def greet_by_name(found: re.Match[str], talk: Talk) -> str:
    name = found[1] or found[2]
    return f"Hello, {name}!" if found[2] else f"你好，{name}！"


def tell_name(found: re.Match[str], talk: Talk) -> str:
    english = is_english(talk.questions[-1])
    for question in reversed(talk.questions):
        introduced = INTRODUCTION.search(question)
        if introduced:
            name = introduced[1] or introduced[2]
            return f"Your name is {name}." if english else f"你叫{name}。"
    return "You have not told me your name yet." if english else "我还不知道你叫什么，你可以告诉我。"


def quote_question(found: re.Match[str], talk: Talk) -> str:
    english = is_english(talk.questions[-1])
    if len(talk.questions) < 2:
        return "This is the first thing you say." if english else "这是你说的第一句话。"
    before = shortened(talk.questions[-2])
    return f'You said: "{before}"' if english else f"你刚才说：「{before}」"


def quote_reply(found: re.Match[str], talk: Talk) -> str:
    english = is_english(talk.questions[-1])
    if not talk.replies:
        return "I have not said anything yet." if english else "我还没有说过话。"
    before = shortened(talk.replies[-1])
    return f'I said: "{before}"' if english else f"我刚才说：「{before}」"


def calculate(found: re.Match[str], talk: Talk) -> str:
    left, right = Decimal(found[1]), Decimal(found[3])
    if found[2] in "/÷" and not right:
        return "除数不能是 0。"
    value = {"+": left + right, "-": left - right, "*": left * right, "×": left * right}.get(found[2])
    if value is None:
        value = round(left / right, 6)
    digits = f"{value:f}"
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    return f"{found[1]}{found[2]}{found[3]}={digits}"


def introduce_itself(found: re.Match[str], talk: Talk) -> str:
    if talk.system and is_english(talk.questions[-1]):
        return f'I was told: "{shortened(talk.system)}"'
    if talk.system:
        return f"我的设定是：「{shortened(talk.system)}」"
    if is_english(talk.questions[-1]):
        return "I am the stand-in for ChatGPT on this machine. There is no real model behind me."
    return "我是本机的模拟 ChatGPT，背后没有真正的模型。"


def canned(answers: tuple[str, ...]) -> Callable[[re.Match[str], Talk], str]:
    """The rule that answers a Chinese question with the first text and an English one with the second."""
    return lambda found, talk: answers[is_english(talk.questions[-1])]


def describe_pictures(talk: Talk) -> str:
    pictures = "；".join(talk.pictures)
    return f"我看到 {len(talk.pictures)} 张图片：{pictures}。你说的是「{shortened(talk.questions[-1])}」。"


def echo(talk: Talk) -> str:
    number, said = len(talk.questions), shortened(talk.questions[-1])
    if is_english(said):
        return f'You said: "{said}". This is question {number} of this conversation.'
    return f"你说的是「{said}」。这是本次对话的第 {number} 个问题。"


# The first pattern found in the last question answers it; `echo` answers what no pattern fits.
RULES: tuple[tuple[str | re.Pattern[str], Callable[[re.Match[str], Talk], str]], ...] = (
    (r"没完没了|\bendless\b", canned(ENDLESS)),
    (r"长文|\blong\b", canned(LONG)),
    (r"加粗|\bbold\b", canned(BOLD)),
    (r"公式|脚注|\bformula\b|\bfootnotes?\b", canned(FORMULA)),
    (r"分步|步骤|\bsteps\b", canned(STEPS)),
    (r"价目表|\bprice list\b", canned(PRICES)),
    (r"多层列表|\bnested list\b", canned(NESTED_LIST)),
    (r"名言|\bquotation\b", canned(QUOTATION)),
    (r"代码|表格|\b(?:markdown|code|table)\b", canned(MARKDOWN)),
    (r"画|\bdraw\b|\bpaint\b", canned(PAINTED)),
    (r"我(?:刚才|刚刚|上一句)[说问][了的]?是?(?:什么|啥)|what did i (?:just )?(?:say|ask)", quote_question),
    (r"你(?:刚才|刚刚|上一句)(?:说|回答)[了的]?是?(?:什么|啥)|what did you (?:just )?(?:say|answer)", quote_reply),
    (r"我叫(?:什么|啥)|我是谁|我的名字[是叫]?(?:什么|啥)|what(?:'s| is) my name|who am i", tell_name),
    (INTRODUCTION, greet_by_name),
    (r"你是谁|who are you", introduce_itself),
    (SUM, calculate),
    (r"^\s*(?:你好|您好|嗨|哈喽|早上好|下午好|晚上好|hello|hi)\s*[啊呀]?[!！。.~～，,]*\s*$", greet),
)


def answer_to(talk: Talk) -> str:
    """What the stand-in says: the same for the same messages."""
    if not talk.questions:
        return "请问有什么问题？"
    if talk.pictures:
        return describe_pictures(talk)
    for pattern, rule in RULES:
        found = re.search(pattern, talk.questions[-1], 0 if isinstance(pattern, re.Pattern) else re.I | re.M)
        if found:
            return rule(found, talk)
    return echo(talk)

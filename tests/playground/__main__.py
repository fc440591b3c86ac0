"""`python -m tests.playground`: chat with the bot in the terminal, everything on this machine.

DingTalk, Function Compute and OSS are the local stand-ins. So is ChatGPT, unless CHATGPT_API_KEY is set (and perhaps
CHATGPT_BASE_URL, CHATGPT_MODEL): then the real model answers.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from tests.stand_ins.dingtalk import XIAODING, Person
from tests.stand_ins.local_cloud import LocalCloud

FIRST_ANSWER_SECONDS = 90  # a real model may think for TIMEOUT seconds
MODEL_SETTINGS = ("CHATGPT_API_KEY", "CHATGPT_BASE_URL", "CHATGPT_MODEL", "CHATGPT_OPTIONS")
SETTINGS = (  # of Dingtalk_ChatGPT_Reply, to try them before using them
    *("SYSTEM_PROMPT", "HISTORY_LENGTH", "HISTORY_SCOPE", "TIMEOUT", "REPLY_FORMAT"),
    *("ALLOWED_USERS", "ALLOWED_GROUPS", "DAILY_LIMIT"),
)
ABOUT = """\
直接输入要说的话，按回车发送。Write what you want to say and press Enter.
  /as 李四      换一个人说话   somebody else speaks
  /group        在群里说话     in a group, with @
  /private      私聊           in a private chat
  /send audio 明天天气         发一条语音 a voice message; also picture, video, file,
                rich_text, text_group_quote, unknown, over_quota
  \\help         机器人的命令   the bot's own commands
  /quit         退出           end
"""


class Chat:
    """Who speaks, and where."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud = cloud
        self.person = XIAODING
        self.group: str | None = None

    @property
    def prompt(self) -> str:
        """Shown before the words of the person."""
        return f"[{self.group}] {self.person.nick} @机器人> " if self.group else f"{self.person.nick}> "

    def do(self, line: str) -> bool:
        """Whether the line was one of the playground's own commands, which then is done."""
        command, _, argument = line.partition(" ")
        if command == "/as" and argument.strip():
            self.person = person_named(argument.strip())
        elif command == "/group":
            self.group = argument.strip() or "测试群"
        elif command == "/private":
            self.group = None
        else:
            return False
        return True

    def say(self, line: str) -> list[str]:
        """What the chat shows in return."""
        dingtalk = self.cloud.dingtalk
        kind, text = "text", line
        if line.startswith("/send "):
            kind, _, text = line.removeprefix("/send ").strip().partition(" ")
        try:
            message = dingtalk.message(text or None, person=self.person, group=self.group, kind=kind)
        except (ValueError, OSError) as error:
            return [f"（没有这样的消息 / there is no such message: {type(error).__name__}: {kind}）"]
        delivery = dingtalk.deliver(message, timeout=10)  # more than DingTalk's 2.5 s: the first one is a cold start
        if delivery.status != 200:
            return [f"Dingtalk_Conversation answered HTTP {delivery.status}."]
        dingtalk.wait_shown(1, message, FIRST_ANSWER_SECONDS)
        self.cloud.function_compute.wait_idle(FIRST_ANSWER_SECONDS)
        return [
            f"【{bubble.kind}：{bubble.title}】\n{bubble.text}" if bubble.title else bubble.text
            for bubble in dingtalk.shown(message)
        ]


def person_named(nick: str) -> Person:
    """Somebody of the organisation with this name; the same name is the same person."""
    number = sum(ord(letter) * 31**place for place, letter in enumerate(nick)) % 10**10
    return XIAODING if nick == XIAODING.nick else Person(nick, f"{number:010}", f"$:LWCP_v1:$user+{number:010}==")


def main() -> int:
    """The exit status: 0, or 1 if an answer did not come."""
    parser = argparse.ArgumentParser(prog="python -m tests.playground", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--say", action="append", metavar="TEXT", help="say this, print the answer and end; may be given several times"
    )
    lines = parser.parse_args().say
    settings = {name: os.environ[name] for name in SETTINGS if os.environ.get(name)}
    real_model = bool(os.environ.get("CHATGPT_API_KEY"))
    if real_model:
        settings.update(
            {name: os.environ.get(name, "") for name in MODEL_SETTINGS}
        )  # '' is the default, not the stand-in
    with LocalCloud(reply=settings) as cloud:
        try:
            return scripted(Chat(cloud), lines) if lines else interactive(Chat(cloud), real_model)
        except (KeyboardInterrupt, EOFError):
            print()
            return 0


def scripted(chat: Chat, lines: list[str]) -> int:
    """Say the lines one after the other and print what the chat shows."""
    for line in lines:
        if chat.do(line):
            continue
        print(f"{chat.prompt}{line}")
        try:
            for text in chat.say(line):
                print(f"机器人> {text}", flush=True)
        except TimeoutError as error:
            print(f"没有回答 / no answer: {error}", file=sys.stderr)
            print(chat.cloud.function_compute.logs(), file=sys.stderr)
            return 1
    return 0


def interactive(chat: Chat, real_model: bool) -> int:
    """A chat in the terminal until /quit, Ctrl-D or Ctrl-C."""
    print("ChatGPT: " + ("真实的模型 / the real model" if real_model else "本机的替身 / a local stand-in"))
    print(ABOUT)
    while True:
        line = input(chat.prompt).strip()
        if line == "/quit":
            return 0
        if not line or chat.do(line):
            continue
        started = time.monotonic()
        try:
            for text in chat.say(line):
                print(f"机器人> {text}")
        except TimeoutError as error:
            print(f"没有回答 / no answer: {error}\n{chat.cloud.function_compute.logs()}")
        print(f"        {time.monotonic() - started:.1f} s")


if __name__ == "__main__":
    sys.exit(main())

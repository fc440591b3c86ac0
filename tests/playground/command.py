"""`python3 -m tests.playground`: chat with the bot in a page in the browser, everything on this machine.

DingTalk, Function Compute and OSS are the local stand-ins. So is ChatGPT, unless CHATGPT_API_KEY is set (and perhaps
CHATGPT_BASE_URL, CHATGPT_MODEL): then the real model answers.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import threading
import webbrowser
from types import FrameType
from typing import Any

from bot import sentences, settings
from bot.readers import SECRET
from tests.playground.chat import PUSH_SECONDS, Chat
from tests.playground.page import STAND_IN_SETTINGS, Page
from tests.playground.way import watch
from tests.stand_ins.local_cloud import REPLY, LocalCloud

ANSWER_SECONDS = 90  # a real model may think for TIMEOUT seconds
INSTANCES = 4  # of Dingtalk_ChatGPT_Reply, at most
CONVERSATIONS = 10  # instances of Dingtalk_Conversation: no queue holds a message that finds none
MODEL_SETTINGS = ("CHATGPT_API_KEY", "CHATGPT_BASE_URL", "CHATGPT_MODEL", "CHATGPT_OPTIONS")
# Not taken from the environment: where something lies, and names that systems use for something else (LANGUAGE is
# taken only if it is one of ours).
NOT_TAKEN = (*MODEL_SETTINGS, *STAND_IN_SETTINGS, "OSS_REGION", "CHATGPT_FUNCTION", "SERVICE_NAME", "VERBOSE")


def main() -> int:
    """The exit status: 0, or 1 if the port is busy or an answer did not come."""
    asked = arguments()
    signal.signal(signal.SIGTERM, end)
    if sys.stderr.isatty():
        print("正在启动……Starting ...", file=sys.stderr)
    reply = from_environment(settings.ReplySettings)
    real_model = bool(os.environ.get("CHATGPT_API_KEY"))
    if real_model:  # '' is the default, not the stand-in
        reply.update({name: os.environ.get(name, "") for name in MODEL_SETTINGS})
    local = LocalCloud(
        from_environment(settings.ConversationSettings),
        reply,
        max_instances=INSTANCES,
        max_conversations=CONVERSATIONS,
        generation=asked.fc,
    )
    local.given[REPLY].update(local.application())  # the bot looks at pictures and files
    with local as cloud:
        try:
            return say(cloud, asked.say) if asked.say else show(cloud, real_model, asked)
        except KeyboardInterrupt:
            print()
            return 0


def from_environment(kind: type[Any]) -> dict[str, str]:
    """The settings of a function that stand in the environment, without keys and without what leads elsewhere."""
    names = [name for name, check, _ in settings.variables(kind) if name not in NOT_TAKEN and check != SECRET]
    given = {name: os.environ[name] for name in names if os.environ.get(name)}
    if given.get("LANGUAGE") not in sentences.LANGUAGES:
        given.pop("LANGUAGE", None)
    return given


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.playground", description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=port, default=0, help="of the page; a free one if it is not given")
    parser.add_argument("--no-browser", action="store_true", help="only print the address of the page")
    parser.add_argument(
        "--say", action="append", metavar="TEXT", help="say this, print the answer and end; may be given several times"
    )
    parser.add_argument("--fc", type=int, choices=(2, 3), default=2, help="the generation of Function Compute")
    return parser.parse_args()


def port(text: str) -> int:
    """The number of a port; 0 is a free one."""
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise argparse.ArgumentTypeError("端口是 0 到 65535 的数字 a port is a number from 0 to 65535")
    return int(text)


def end(signal_number: int, frame: FrameType | None) -> None:
    """As Ctrl-C."""
    raise KeyboardInterrupt


def warm(cloud: LocalCloud, real_model: bool) -> None:
    """Start an instance of each function, both at once: the first message is not to wait. Nothing is left of it."""
    message = cloud.dingtalk.message("\\help" if real_model else "1+1=?")  # a real model costs something
    nonsense = {"body": b"{}", "timeout": PUSH_SECONDS}  # it refuses this, and is warm
    conversation = threading.Thread(target=cloud.dingtalk.deliver, args=(message,), kwargs=nonsense)
    conversation.start()
    with contextlib.suppress(RuntimeError):  # a function that fails: the first message will show how
        cloud.invoke(REPLY, json.dumps(message).encode())
    conversation.join()
    cloud.reset()


def show(cloud: LocalCloud, real_model: bool, asked: argparse.Namespace) -> int:
    """The page, until Ctrl-C."""
    warm(cloud, real_model)
    watch(cloud)
    with contextlib.ExitStack() as stack:
        try:
            page = stack.enter_context(Page(Chat(cloud, real_model), asked.port))
        except OSError:
            print(
                f"端口 {asked.port} 已被占用，请用 --port 换一个，或者不写 --port。\n"
                f"Port {asked.port} is in use: choose another one with --port, or leave --port out.",
                file=sys.stderr,
            )
            return 1
        model = "真实的模型 the real model" if real_model else "本机的模拟服务 a stand-in on this machine"
        print(f"试玩页面 Playground: {page.url}\nChatGPT: {model}\n按 Ctrl-C 结束。Press Ctrl-C to end.", flush=True)
        if not asked.no_browser and has_screen():
            webbrowser.open(page.url)
        while True:
            threading.Event().wait(60)  # on Windows, only a wait with an end can be interrupted


def has_screen() -> bool:
    """Whether a browser with windows can open; in a terminal, Python would start one that runs in it."""
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def say(cloud: LocalCloud, texts: list[str]) -> int:
    """Say the texts one after the other and print what the chat shows."""
    dingtalk = cloud.dingtalk
    for text in texts:
        message = dingtalk.message(text)
        print(f"{message['senderNick']}> {text}", flush=True)
        try:
            dingtalk.deliver(message, timeout=PUSH_SECONDS)
            dingtalk.wait_shown(1, message, ANSWER_SECONDS)
            cloud.function_compute.wait_idle(ANSWER_SECONDS)
        except TimeoutError as error:
            print(f"没有回答 No answer: {error}\n{cloud.function_compute.logs()}", file=sys.stderr)
            return 1
        for shown in dingtalk.shown(message):
            print(f"机器人> {shown.text}", flush=True)
    return 0

"""The emoji on a message while its answer is under way."""

import threading
import time
from collections.abc import Iterable

import requests

from bot import sentences
from bot.deadline import Run
from bot.dingtalk.api import CallFailed, call_dingtalk
from bot.dingtalk.message import Message
from bot.logs import log

SIGN_PAUSES_SECONDS = (0.4, 0.8)  # between the tries to show it: just after a message came DingTalk may not know it
RECALL_PAUSES_SECONDS = (1.5, 3.5)
MOST_SECONDS = 8  # for all tries, and what the run waits for its end, when the answer is out


class SignOfLife:
    """An emoji on the message while its answer is under way, beside everything else; what fails of it nobody sees."""

    def __init__(self, message: Message, run: Run) -> None:
        self.message, self.run = message, run
        self.over = threading.Event()
        self.thread: threading.Thread | None = None

    def begin(self, anew: bool = True) -> None:
        """Show it, or only take away what another run has left; if it is switched on."""
        if self.run.settings.thinking == "on" and self.thread is None:
            self.thread = threading.Thread(target=self.show, args=(anew,), daemon=True)
            self.thread.start()

    def end(self) -> None:
        """Take it away, and wait for that a little: when the run is over, Function Compute stops its threads."""
        self.over.set()
        if self.thread:
            self.thread.join(max(0.0, min(MOST_SECONDS, self.run.deadline - time.monotonic())))

    def show(self, anew: bool) -> None:
        """Show it until the run is over, and take it away if it may be there."""
        until_over = (0 for seconds in SIGN_PAUSES_SECONDS if not self.over.wait(seconds))  # it waits by itself
        there = not anew or self.problem("reply", until_over) in ("", "network", "busy", "refused")
        self.over.wait()
        if there:
            self.problem("recall", RECALL_PAUSES_SECONDS)

    def problem(self, verb: str, pauses_seconds: Iterable[float]) -> str:
        """The cause if DingTalk does not do it, '' if it does."""
        message, run, name = self.message, self.run, sentences.THINKING
        body = {
            "robotCode": message.robot_code or run.settings.dingtalk_app_key,
            "openMsgId": message.id,
            "openConversationId": message.conversation_id,
            "emotionType": 2,
            "emotionName": name,
            "textEmotion": {"emotionId": "2659900", "emotionName": name, "text": name, "backgroundId": "im_bg_1"},
        }
        request = requests.Request("POST", f"{run.settings.dingtalk_api}/v1.0/robot/emotion/{verb}", json=body)
        deadline = run.share((MOST_SECONDS, 1))
        try:
            call_dingtalk(request, run.settings, deadline, pauses_seconds, passing=("network", "busy"))
        except CallFailed as failure:
            log.info("request %s: no emotion/%s: %s", run.context.request_id, verb, failure)
            return failure.cause
        return ""

"""The emoji on a message while its answer is under way."""

from __future__ import annotations

import threading
import time

from bot import sentences
from bot.deadline import Run, pause
from bot.dingtalk.api import CallFailed, call_dingtalk
from bot.dingtalk.message import Message
from bot.logs import log

SIGN_PAUSES_SECONDS = (0, 0.4, 0.8)  # before each try to show it: just after a message came DingTalk may not know it
RECALL_PAUSES_SECONDS = (0, 1.5, 3.5)
MOST_CALL_SECONDS, MOST_RECALL_SECONDS = 5, 8  # the last is what the run waits for its end, when the answer is out


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
            self.thread.join(max(0.0, min(MOST_RECALL_SECONDS, self.run.deadline - time.monotonic())))

    def show(self, anew: bool) -> None:
        """Show it until the run is over, and take it away if it may be there."""
        there = not anew
        for pause_seconds in SIGN_PAUSES_SECONDS if anew else ():
            if self.over.wait(pause_seconds):
                break
            problem = self.problem("reply")
            there = there or problem in ("", "network", "refused")
            if problem not in ("network", "busy"):
                break
        self.over.wait()
        for pause_seconds in RECALL_PAUSES_SECONDS if there else ():
            pause(pause_seconds, self.run.deadline)
            if self.problem("recall") not in ("network", "busy"):
                break

    def problem(self, verb: str) -> str:
        """The cause if DingTalk does not do it, '' if it does."""
        message, run = self.message, self.run
        text_emotion = {
            "emotionId": "2659900",
            "emotionName": sentences.THINKING,
            "text": sentences.THINKING,
            "backgroundId": "im_bg_1",
        }
        body = {
            "robotCode": message.robot_code or run.settings.dingtalk_app_key,
            "openMsgId": message.id,
            "openConversationId": message.conversation_id,
            "emotionType": 2,
            "emotionName": sentences.THINKING,
            "textEmotion": text_emotion,
        }
        try:
            call_dingtalk(f"/v1.0/robot/emotion/{verb}", body, run.settings, run.share((MOST_CALL_SECONDS, 1)))
        except CallFailed as failure:
            log.info("request %s: no emotion/%s: %s", run.context.request_id, verb, failure)
            return failure.cause
        return ""

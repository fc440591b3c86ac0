"""The self-check: a report on every part that the deployer has to set up."""

from __future__ import annotations

import dataclasses
import time

import oss2

from bot import sentences
from bot.chatgpt.asking import Question, messages_for
from bot.chatgpt.refusals import ModelFailure
from bot.chatgpt.service import complete
from bot.deadline import MOST_SECONDS_WITHOUT_CHATGPT, Run
from bot.dingtalk.api import CallFailed
from bot.dingtalk.attachments import fetch
from bot.oss.bucket import OssFailure, append_bytes, call_oss, open_bucket, read_tail
from bot.oss.journal import TAIL_BYTES
from bot.settings import ReplySettings

CHECK_SHARE = (10, 1 / 3)  # for OSS, and then for ChatGPT
FOLDERS = ("chat-journal", "chat-history", "chat-usage")  # the last with DAILY_LIMIT


def self_check(problems: list[str], run: Run) -> dict[str, str]:
    """A report on every part that the deployer has to set up: ok, or what is wrong and what to change."""
    settings, time_out = run.settings, run.context.function.timeout
    parts = sentences.REPORT
    report = {"result": "self-check", parts["settings"]: sentences.BETWEEN.join(problems) or "ok"}
    report[parts["time-out"]] = "ok"
    needed = settings.timeout + MOST_SECONDS_WITHOUT_CHATGPT
    if time_out < needed:
        report[parts["time-out"]] = sentences.SHORT_TIME_OUT.format(seconds=time_out, needed=needed)
    oss_is_set = settings.oss_bucket_name and hasattr(oss2, "AuthV4")
    report["OSS"] = check_oss(run) if oss_is_set else sentences.OSS_NOT_CHECKED
    for model in settings.chatgpt_model:
        part = "ChatGPT" if len(settings.chatgpt_model) == 1 else f"ChatGPT {model}"
        one = dataclasses.replace(settings, chatgpt_model=(model,))
        report[part] = check_model(one, run.deadline) if settings.chatgpt_api_key else sentences.CHATGPT_NOT_CHECKED
    if settings.dingtalk_app_key and settings.dingtalk_app_secret:
        report[parts["DingTalk"]] = check_dingtalk(run)
    return report


def check_oss(run: Run) -> str:
    """Append, read and delete a probe object, twice: in a bucket that keeps versions the second append may fail."""
    deadline = run.share(CHECK_SHARE)
    try:
        bucket = open_bucket(run.settings, run.context, run.role)
        for folder in 2 * (FOLDERS if run.settings.daily_limit else FOLDERS[:-1]):
            key = f"{folder}/@self-check/{run.id}.jsonl"
            append_bytes(bucket, key, 0, b"{}\n", deadline)
            read_tail(bucket, key, TAIL_BYTES, deadline)
            if call_oss(deadline, bucket.delete_object, key).delete_marker:
                return sentences.VERSIONED
    except OssFailure as failure:
        return str(failure)
    return "ok"


CHECK_SECONDS = 30  # for ChatGPT in a self-check; a reasoning model thinks that long about nothing


def check_model(settings: ReplySettings, deadline: float) -> str:
    """Ask the model one tiny question, just as a person's; if that fails, what to change, and what the service says."""
    try:
        messages = messages_for(Question("1+1=?"), [], settings.system_prompt)
        complete(messages, settings, min(CHECK_SECONDS, settings.timeout, deadline - time.monotonic()))
    except ModelFailure as failure:
        sentence = sentences.SERVICE_SAYS if failure.said else sentences.SERVICE_SILENT
        return sentence.format(sentence=sentences.FAILURES[failure.cause], detail=failure.detail, said=failure.said)
    return "ok"


def check_dingtalk(run: Run) -> str:
    """Fetch a token, and ask for a file that does not exist: DingTalk looks at the permission before the code."""
    try:
        fetch("self-check", "", run.settings, run.share(CHECK_SHARE))
    except CallFailed as failure:
        if failure.cause not in ("expired", "robot", "refused"):
            return sentences.NOT_SEEN[failure.cause]
    return "ok"

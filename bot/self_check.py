"""The self-check: a report on every part that the deployer has to set up."""

import dataclasses
import time

from bot import sentences
from bot.chatgpt.asking import Question, messages_for
from bot.chatgpt.refusals import ModelFailure
from bot.chatgpt.service import complete
from bot.deadline import MOST_SECONDS_WITHOUT_CHATGPT, Run
from bot.dingtalk.api import CallFailed
from bot.dingtalk.attachments import fetch
from bot.oss.bucket import OssFailure, append_bytes, call_oss, open_bucket, read_tail, version_problem
from bot.oss.journal import TAIL_BYTES

CHECK_SHARE = (10, 1 / 3)  # for OSS, and then for DingTalk
CHECK_SECONDS = 30  # for ChatGPT; a reasoning model thinks that long about nothing
LEAST_SECONDS = 1  # with less left, it is not asked
FOLDERS = ("chat-journal", "chat-history", "chat-usage")  # the last with DAILY_LIMIT


def self_check(problems: list[str], run: Run) -> dict[str, str]:
    """A report on every part: ok, or what is wrong and what to change."""
    settings, seconds = run.settings, run.context.function.timeout
    needed = settings.timeout + MOST_SECONDS_WITHOUT_CHATGPT
    short = sentences.SHORT_TIME_OUT.format(seconds=seconds, needed=needed) if seconds < needed else ""
    wrong = {"settings": sentences.BETWEEN.join(problems), "time-out": short, "OSS": check_oss(run)}
    if settings.dingtalk_app_key and settings.dingtalk_app_secret:
        wrong["DingTalk"] = check_dingtalk(run)  # before the models, which may take all the time there is
    for model in settings.chatgpt_model:
        part = "ChatGPT" if len(settings.chatgpt_model) == 1 else f"ChatGPT {model}"
        wrong[part] = check_model(model, run)
    named = {sentences.REPORT.get(part, part): problem or "ok" for part, problem in wrong.items()}
    return {"result": "self-check", **named}


def check_oss(run: Run) -> str:
    """Append, read and delete a probe object, twice: in a bucket that keeps versions the second append may fail."""
    if not run.settings.oss_bucket_name or version_problem():
        return sentences.NOT_CHECKED.format(name="OSS_BUCKET_NAME / oss2")
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
    return ""


def check_model(model: str, run: Run) -> str:
    """Ask the model one tiny question, just as a person's; if that fails, what to change, and what the service says."""
    settings = dataclasses.replace(run.settings, chatgpt_model=(model,))
    if not settings.chatgpt_api_key:
        return sentences.NOT_CHECKED.format(name="CHATGPT_API_KEY")
    messages = messages_for(Question("1+1=?"), [], settings.system_prompt)
    most_seconds = min(CHECK_SECONDS, settings.timeout)
    seconds = min(most_seconds, run.deadline - time.monotonic())
    if seconds < LEAST_SECONDS:
        return sentences.NO_TIME_TO_CHECK
    try:
        complete(messages, settings, seconds)
    except ModelFailure as failure:
        if failure.cause == "timeout" and seconds < most_seconds:
            return sentences.NO_TIME_TO_CHECK
        said = sentences.SERVICE_SAID.format(said=failure.said) if failure.said else ""
        detail = sentences.NOTE.format(note=failure.detail)
        return f"{sentences.FAILURES[failure.cause]} {detail} {said}".strip()
    return ""


def check_dingtalk(run: Run) -> str:
    """Fetch a token, and ask for a file that does not exist: DingTalk looks at the permission before the code."""
    try:
        fetch("self-check", "", run.settings, run.share(CHECK_SHARE))
    except CallFailed as failure:
        if failure.cause not in ("expired", "robot", "refused"):
            return sentences.NOT_SEEN[failure.cause]
    return ""

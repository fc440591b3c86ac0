"""Asks ChatGPT: tries, less history where it is too long, the words alone where its pictures are not taken."""

import math
import time
from typing import Any, NamedTuple

from bot import sentences
from bot.chatgpt.answers import Answer
from bot.chatgpt.refusals import ModelFailure
from bot.chatgpt.service import complete
from bot.deadline import AFTER_ASKING_SHARE, Run
from bot.logs import log
from bot.settings import ReplySettings

RETRIED = ("busy", "network", "down")
ASK_PAUSES_SECONDS = (0.5, 2)  # between the three tries of ChatGPT
ways: dict[tuple[str, str], frozenset[str]] = {}  # in which a service has to be asked, see WAYS; kept per instance


class Question(NamedTuple):
    """What a person asks."""

    words: str
    pictures: tuple[str, ...] = ()  # data URLs
    stands_alone: bool = True  # whether the words say something without the pictures


def ask(question: Question, turns: list[dict[str, Any]], run: Run) -> Answer:
    """ChatGPT's answer; if it does not take the pictures, or may not, that to the words alone. Else ModelFailure."""
    deadline = min(time.monotonic() + run.settings.timeout, run.without(AFTER_ASKING_SHARE))
    try:
        return ask_patiently(question, turns, run.settings, deadline)
    except ModelFailure as failure:
        failure.with_pictures = bool(question.pictures) and failure.cause in sentences.PICTURES_REFUSED
        if not (failure.with_pictures and question.stands_alone):
            raise
        log.warning("request %s: ChatGPT does not take the pictures: %s", run.context.request_id, failure)
        answer = ask_patiently(question._replace(pictures=()), turns, run.settings, deadline)
        sentence, line_break, witness = failure.sentence.partition("\n")
        return answer._replace(notes=(*answer.notes, sentences.NOTE.format(note=sentence) + line_break + witness))


def ask_patiently(question: Question, turns: list[dict[str, Any]], settings: ReplySettings, deadline: float) -> Answer:
    """ChatGPT's answer, after three tries at most.

    What passes is tried again after a pause. A conversation that is too long for the model is asked again without its
    older half, then without any of it; and so, once, is what was refused for a reason that is not understood, because
    each service has its own words for "too long". What can be had in another way is asked once more in that way. The
    tries are ours: those of the openai package also repeat what cannot succeed (no money left), and sleep as long as
    the service asks for, whatever the time-out is.
    """
    service = (settings.chatgpt_base_url, settings.chatgpt_model[0])
    known, pauses_seconds, shortened = ways.get(service, frozenset()), iter(ASK_PAUSES_SECONDS), False
    said = [text for turn in turns for text in turn.values()]
    while True:
        try:
            messages = messages_for(question, turns, settings.system_prompt, "no system" not in known)
            answer = complete(messages, settings, deadline - time.monotonic(), "stream" in known, said)
            ways[service] = known
            return answer
        except ModelFailure as failure:
            if failure.way and failure.way not in known and (failure.way == "stream" or settings.system_prompt):
                known |= {failure.way}
                continue
            pause_seconds = next(pauses_seconds, math.inf)
            shorten = turns and (failure.cause == "long" or (failure.doubtful and not shortened))
            wait_seconds = 0 if shorten else failure.wait_seconds or pause_seconds
            in_time = pause_seconds < math.inf and time.monotonic() + wait_seconds <= deadline - 1
            if not (in_time and (shorten or failure.cause in RETRIED)):
                raise
        if shorten:
            turns, shortened = [] if shortened else turns[(len(turns) + 1) // 2 :], True
        else:
            time.sleep(wait_seconds)


def messages_for(
    question: Question, turns: list[dict[str, Any]], system_prompt: str | None, has_system: bool = True
) -> list[dict[str, Any]]:
    """The messages of a request; for a model without a system role, its words stand before the first question."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": system_prompt}] if system_prompt else []
    for turn in turns:
        messages.append({"role": "user", "content": turn["question"]})
        messages.append({"role": "assistant", "content": turn["answer"]})
    messages.append({"role": "user", "content": question.words})
    if system_prompt and not has_system:
        del messages[0]
        messages[0]["content"] = f"{system_prompt}\n\n{messages[0]['content']}"
    parts = [{"type": "image_url", "image_url": {"url": picture, "detail": "auto"}} for picture in question.pictures]
    if parts:
        messages[-1]["content"] = [{"type": "text", "text": messages[-1]["content"]}, *parts]
    return messages

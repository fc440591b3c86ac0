"""What a completion says."""

import re
from typing import Any, NamedTuple

from bot import sentences
from bot.chatgpt.marks import calls_tool, without_marks
from bot.chatgpt.pictures import IN_HISTORY, MARKS, pictures_beside, take_pictures, with_pictures
from bot.chatgpt.refusals import ModelFailure, read_refusal, understood
from bot.chatgpt.responses import as_completion, is_response
from bot.chatgpt.sources import sources_below
from bot.masking import quotable
from bot.values import encodable, first_object, read_json, values_in

ENDINGS = (  # how an answer ended, by what the reason is made of; the first that fits
    ("", r"^(|stop\w*|eos\w*|end\w*|complete\w*|finish(ed)?|done|success|null|none)$"),
    ("tools", "tool|function"),
    ("filtered", "filter|refus|block|sensitiv|safety|recit|prohibit|spii|guardrail|polic|censor|moderat|violat|risk"),
    ("length", "length|token|window|limit|max"),
    ("down", "error|abort|network|insufficient|fail|timeout|cancel|interrupt|disconnect|overload|progress"),
)
CUT_OFF = {"filtered": "TAKEN_AWAY", "length": "TOO_SHORT", "down": "BROKEN_OFF"}
THOUGHT = re.compile("think|thought|reasoning")  # in the name of a field, or the type of a part
# Characters of the words are kept and sent, more parts than DingTalk is sent have 66,000; are read, with the thoughts.
MOST_CHARACTERS, MOST_READ = 200_000, 1_000_000
IN_BASE64 = re.compile("base64,[A-Za-z0-9+/=_-]*")  # pictures, which may be longer


class Answer(NamedTuple):
    """What ChatGPT says, and what it counted."""

    words: str
    tokens: str = ""  # '120 + 35 tokens' for the question and the answer; '' if the service does not tell
    notes: tuple[str, ...] = ()  # sentences of ours below the words
    pictures: tuple[str, ...] = ()  # Base64; marks stand for them in the words
    sources: str = ""  # links, for the chat only
    unfinished: bool = False  # it reached a limit of length

    @property
    def text(self) -> str:
        """What the model sees of it later."""
        return "\n\n".join([with_pictures(self.words, [IN_HISTORY] * len(MARKS)), *self.notes])

    @property
    def has_pictures(self) -> bool:
        """Whether one stands in the words."""
        return any(mark in self.words for mark in MARKS)

    def shown(self, pictures: list[str], why_not: str) -> str:
        """What the chat shows: these in the place of the pictures, why others are not there, the sources."""
        words = with_pictures(self.words, pictures)
        why_not = why_not or ("unfit" if MARKS[-1] in self.words else "")
        note = sentences.NOTE.format(note=sentences.PICTURES_NOT_SHOWN[why_not]) if why_not else ""
        return "\n\n".join(filter(None, (words, *self.notes, note, self.sources)))


def read_answer(content: bytes) -> Answer:
    """What a body says; ModelFailure if it says nothing, Refusal if it is an error that came as a 200."""
    values = values_in(content)
    if not values:
        raise ModelFailure("busy", "an empty body")
    completion = completion_in(values, b"[DONE]" in content[-200:])
    if is_response(completion):
        completion = as_completion(completion)
        values = [completion]  # all else of it that is no answer repeats the request
    choice = first_object(completion.get("choices"))
    message = first_object(choice.get("message"))
    places = (message, choice, completion.get("output_text"), completion.get("output"))
    raw = next((text for text in map(text_of, places) if text.strip()), "")
    raw, pictures = take_pictures(raw[: MOST_READ + sum(map(len, IN_BASE64.findall(raw)))])
    raw = raw[:MOST_READ]
    words = without_marks(raw)[:MOST_CHARACTERS]
    words = "\n\n".join(filter(None, (words, pictures_beside(message, pictures))))
    reason = str(choice.get("finish_reason") or "").strip().lower()
    ending = next((name for name, made in ENDINGS if re.search(made, reason)), "?")
    error = choice.get("error") or completion.get("error") or completion.get("object") == "error"
    ending = "down" if error and ending not in CUT_OFF else ending
    if words:
        notes = [getattr(sentences, CUT_OFF[ending])] if ending in CUT_OFF else []
        notes += [sentences.TOOL_CALLED] if calls_tool(raw) else []
        sources = sources_below(completion, words) if b"http" in content else ""
        return Answer(words, tokens_in(completion), tuple(notes), tuple(pictures), sources, ending == "length")
    refusal = read_refusal(200, [*values, choice.get("error")])
    if error or understood(refusal):
        raise refusal
    if isinstance(values[0], str) and values[0].startswith("{") and read_json(values[0]) is None:
        raise ModelFailure("down", "JSON that broke off")
    if "choices" not in completion:
        raise refusal
    # What there is instead: the names of fields, and the kinds of the parts in one without words.
    left = [*(name for name, part in message.items() if str(part or "").strip()), str(message.get("content"))]
    if re.search("tool|function", " ".join(left)) or calls_tool(raw):
        cause = "tools"
    elif raw.strip() or THOUGHT.search(" ".join(left)):
        cause = "thoughts"
    else:
        cause = {"": "empty", "length": "empty", "?": "ended"}.get(ending, ending)
    raise ModelFailure(cause, "no words", said=quotable([reason], ()) if cause == "ended" else "")


def completion_in(values: list[Any], done: bool) -> dict[str, Any]:
    """One completion: the last whole one, or what its chunks are together if that says more; {} if there is none.

    A stream may leave out the reason of its end, or '[DONE]': one that has neither broke off.
    https://github.com/QuantumNous/new-api/issues/7489, https://github.com/vllm-project/vllm/issues/52852
    """
    whole: dict[str, Any] = {}
    choice: dict[str, Any] = {}
    parts: dict[str, list[Any]] = {}
    for event in map(first_object, values):
        event = event["response"] if isinstance(event.get("response"), dict) else event  # an event of the Responses API
        whole.update({name: value for name, value in event.items() if value is not None})
        chunk = first_object(event.get("choices"))
        choice.update({name: value for name, value in chunk.items() if value})
        delta = chunk["delta"] if isinstance(chunk.get("delta"), dict) else {"content": chunk.get("text")}
        for name, value in delta.items():
            parts.setdefault(name, []).extend([value] if value else [])
    if choice:
        in_chunks = "delta" in choice or len(values) > 1
        done = done and not isinstance(values[-1], str)  # what was too long was cut, and breaks off in a chunk
        if in_chunks and not (done or choice.get("finish_reason") or choice.get("message")):
            choice["finish_reason"] = "disconnected"
        joined = {
            name: "".join(found) if all(isinstance(each, str) for each in found) else found
            for name, found in parts.items()
        }
        less, more = sorted((joined, first_object(choice.get("message"))), key=lambda message: len(text_of(message)))
        whole["choices"] = [{**choice, "message": {**less, **more}}]
    return whole


def tokens_in(completion: dict[str, Any]) -> str:
    """See Answer."""
    usage = first_object(completion.get("usage"))
    counts = [usage.get(f"{name}_tokens") for name in ("prompt", "completion", "input", "output")]
    counts = [count for count in counts if type(count) is int]
    return "{} + {} tokens".format(*counts) if len(counts) > 1 else ""


def text_of(content: Any, depth: int = 0) -> str:
    """The text of a message that may come in parts; thoughts and parts of other kinds are left out."""
    if isinstance(content, str):
        return encodable(content)
    if isinstance(content, list) and depth < 5:
        return "".join(text_of(part, depth + 1) for part in content)
    if not isinstance(content, dict) or depth >= 5:
        return ""
    if content.get("thought") is True or THOUGHT.search(str(content.get("type"))):
        return ""
    names = ("text", "content", "refusal", "value")
    return next((text for text in (text_of(content.get(name), depth + 1) for name in names) if text), "")

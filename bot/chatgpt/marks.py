"""What models and their templates leave in an answer beside its words: thoughts, marks, the calls of tools.

Nothing in code is touched. Every pattern here meets what a model that loops may write: none may look twice at a text.
"""

from __future__ import annotations

import re

from bot.values import BLANKS

THOUGHT_NAMES = r"(?:\w{1,9}:)?(?:think(?:ing)?|thoughts?|reasoning|reflection|analysis)"
THOUGHT_TAG = re.compile(
    rf"(?P<block>(?:^|(?<=[>▷\]]))[ \t]*)?"  # where a tag can only be a tag; elsewhere the answer may speak of it
    rf"(?:(?P<opening><{THOUGHT_NAMES}(?:\s[^<>\n]*)?>|◁think▷|\[think\]|<\|begin_of_thought\|>|<\|start_thinking\|>)"
    rf"|(?P<closing></{THOUGHT_NAMES}>|◁/think▷|\[/think\]|<\|end_of_thought\|>|<\|end_thinking\|>))",
    re.IGNORECASE | re.MULTILINE,
)
THOUGHT_DETAILS = re.compile(r"<details\s[^<>\n]{0,200}\btype=[\"']?reasoning\b[^<>\n]{0,200}>", re.IGNORECASE)
MARKUP_TAG = re.compile("<(analysis|reflection)", re.IGNORECASE)  # which XML that was asked for may have too
CODE = re.compile(
    r"^[ \t]*(`{3,}(?!`)|~{3,}(?!~))[^\n]*\n(?:.*?^[ \t]*\1[`~]*[ \t]*$|.*\Z)"
    r"|(?<!`)(`+)(?!`)[^\n]{0,2000}?(?<!`)\2(?!`)",
    re.MULTILINE | re.DOTALL,
)
TOOL_CALL = re.compile(  # in the forms of DeepSeek, Qwen, Kimi, MiniMax, Llama, Mistral, Anthropic
    r"^[ \t]*(?:<[|｜]?(?:[\w.]{1,20}[:|｜])?(?:tool[_▁ ]?calls?|function[_▁ ]?calls?|python_tag)[\w▁]{0,40}[|｜]?>"
    r"|<function=|<(?:\w{1,20}:)?invoke\s|\[TOOL_CALLS?\]|\]<\]\w{1,20}\[>\[)",
    re.MULTILINE | re.IGNORECASE,
)
MARK = re.compile(  # no code stands in one, which is \0 here
    r"<[|｜]([^<>|｜\n\0]{1,60})[|｜]>|<(/?s|eos|bos|pad|unk|eod|(?:start|end)_of_\w{1,20})>|\[(/?INST)\]"
)
TURN = re.compile(r"(im_)?start(_header_id|_of_turn)?|begin_of_sentence|user|human|inst")  # what opens one
SPEAKER = re.compile(r"\s*(?:assistant|model)[ \t]*(?=\n|<|\Z)")


def without_marks(text: str) -> str:
    """The words of an answer, without surrounding blanks; '' if there are none, only thoughts or the call of a tool."""
    text = without_thoughts(without_details(final_channel(text))).strip(BLANKS)
    text = unwrapped(without_template(without_tool_call(text)).strip(BLANKS))
    return text.strip(BLANKS)


def calls_tool(text: str) -> bool:
    """Whether the answer has the call of a tool as text."""
    return bool(TOOL_CALL.search(without_code(text)))


def without_code(text: str) -> str:
    """The text with something of the same length in the place of code."""
    return CODE.sub(lambda code: "\0" * len(code[0]), text)


def without_tool_call(text: str) -> str:
    """The text without the call of a tool: from its beginning to the last tag that closes one."""
    call = TOOL_CALL.search(without_code(text))
    if not call:
        return text
    end = len(text)
    for closing in re.finditer(r"</[^<>\n]{1,40}>|<[|｜][^<>|｜\n]{1,40}end[|｜]>", text[call.start() :]):
        end = call.start() + closing.end()
    return text[: call.start()] + text[end:]


def without_details(text: str) -> str:
    """The text without thoughts that are folded away in HTML, as some front ends write them."""
    opening = THOUGHT_DETAILS.search(without_code(text)) if "<details" in text.lower() else None
    if not opening:
        return text
    end = text.lower().find("</details>", opening.end())
    return text[: opening.start()] + (text[end + len("</details>") :] if end >= 0 else "")


def unwrapped(text: str) -> str:
    """What is in <answer>...</answer>, if that is all."""
    opening = re.match("<(answer|output|final_answer)>", text, re.IGNORECASE)
    return text[opening.end() :].removesuffix(f"</{opening[1]}>") if opening else text


def without_template(text: str) -> str:
    """The text without the marks of a model's template: around it, alone on a line, or in pairs; none of a sentence.

    '<|begin_of_box|>4<|end_of_box|>' -> '4'. What follows the beginning of another turn is made up, and goes too.
    """
    marks = list(MARK.finditer(without_code(text)))
    names = [next(filter(None, mark.groups())).replace("▁", "_").lower() for mark in marks]
    if {"s", "/s"} <= {*names}:
        return text  # words that are struck through
    ends = [0, *(mark.end() for mark in marks)]
    pieces = [text[end:start] for end, start in zip(ends, [*(mark.start() for mark in marks), len(text)], strict=True)]
    begins_line = [not piece.rpartition("\n")[2].strip(BLANKS) for piece in pieces]
    first = 0  # the piece in which the words begin
    for number, name in enumerate(names):
        if first == number and (not pieces[number].strip(BLANKS) or (number and SPEAKER.fullmatch(pieces[number]))):
            first += 1
        if TURN.fullmatch(name) and begins_line[number] and first <= number:
            del pieces[number + 1 :]
            break
    pieces[first] = SPEAKER.sub("", pieces[first], count=1) if first else pieces[first]
    known = {*names}
    closed = {name.replace("begin", "end") for name in known if "begin" in name} & known
    last = next((number for number in reversed(range(len(pieces))) if pieces[number].strip(BLANKS)), 0)
    words = pieces[first]
    for number in range(first, len(pieces) - 1):
        after = pieces[number + 1]
        alone = begins_line[number] and not after.partition("\n")[0].strip(BLANKS)
        paired = names[number].replace("begin", "end") in closed
        words += after if alone or paired or number >= last else marks[number][0] + after
    return words


def without_thoughts(text: str) -> str:
    """The answer without what a reasoning model thought first: <think>...</think> and its relatives, outside code."""
    spans = thoughts_in(text) if THOUGHT_TAG.search(text) else []
    if not spans:
        return text
    ends = [0, *(end for _, end in spans)]
    answer = "".join(text[end:start] for end, (start, _) in zip(ends, [*spans, (len(text), 0)], strict=True))
    if not answer.strip() and MARKUP_TAG.search(text[: spans[0][1]]):
        return text  # an answer in XML, as somebody may want it
    return answer


def thoughts_in(text: str) -> list[tuple[int, int]]:
    """Where thoughts begin and end.

    Either tag may be missing: what stands before a lone closing tag was thought, and so was all if the answer begins
    with an opening one. Further down only a block of its own was: elsewhere the answer speaks of the tag.
    """
    plain = without_code(text)
    spans: list[tuple[int, int]] = []
    start, leading, mentioned = None, True, False
    for tag in THOUGHT_TAG.finditer(plain):
        if tag["closing"] and (start is not None or not (mentioned or spans)):
            spans.append((start or 0, tag.end()))
            start = None
        elif tag["opening"] and start is None:
            leading = leading and not plain[spans[-1][1] if spans else 0 : tag.start()].strip(BLANKS)
            if leading or (tag["block"] is not None and not MARKUP_TAG.search(tag[0])):
                start = tag.start()
            mentioned = mentioned or start is None
    if start is not None and leading:  # never closed, unless in what only looks like code
        closings = (tag.end() for tag in THOUGHT_TAG.finditer(text, start) if tag["closing"])
        spans.append((start, next(closings, len(text))))
    return spans


def final_channel(text: str) -> str:
    """What gpt-oss says in its final channel, if the service left its marks in the text; '' if it did not get there."""
    if not re.match(r"\s*(<\|start\|>assistant)?<\|channel\|>|analysis\S.*assistantfinal", text, re.DOTALL):
        return text
    final = re.split(r"<\|channel\|>final[^\n|]{0,99}(?:<\|constrain\|>\w{1,20})?<\|message\|>|assistantfinal", text)
    return re.split(r"<\|(?:return|end|call|start)\|>", final[-1])[0] if len(final) > 1 else ""

"""What models and their templates leave in an answer beside its words: thoughts, marks, the calls of tools.

Nothing in code is touched. Every pattern here meets what a model that loops may write: none may look twice at a text.
"""

import itertools
import re

from bot.values import BLANKS

THOUGHT_NAMES = r"(?:\w{1,9}:)?(?:think(?:ing)?|thoughts?|reasoning|reflection|analysis)"
THOUGHT_TAG = re.compile(
    rf"(?P<block>(?:^|(?<=[>▷\]]))[ \t]*)?"  # where a tag can only be a tag; elsewhere the answer may speak of it
    rf"(?:(?P<opening><{THOUGHT_NAMES}(?:\s[^<>\n]*)?>|◁think▷|\[think\]|<\|begin_of_thought\|>|<\|start_thinking\|>)"
    rf"|(?P<closing></{THOUGHT_NAMES}>|◁/think▷|\[/think\]|<\|end_of_thought\|>|<\|end_thinking\|>))",
    re.IGNORECASE | re.MULTILINE,
)
# As some front ends fold thoughts away: to the end of the block.
THOUGHT_DETAILS = re.compile(
    r"<details\s[^<>\n]{0,200}\btype=[\"']?reasoning\b[^<>\n]{0,200}>(?:.*?</details>|.*)", re.IGNORECASE | re.DOTALL
)
MARKUP_TAG = re.compile("<(analysis|reflection)", re.IGNORECASE)  # which XML that was asked for may have too
CODE = re.compile(
    r"^[ \t]*(`{3,}(?!`)|~{3,}(?!~))[^\n]*\n(?:.*?^[ \t]*\1[`~]*[ \t]*$|.*\Z)"
    r"|(?<!`)(`+)(?!`)[^\n]{0,2000}?(?<!`)\2(?!`)",
    re.MULTILINE | re.DOTALL,
)
TOOL_CALL = re.compile(  # in the forms of DeepSeek, Qwen, Kimi, MiniMax, Llama, Mistral, Anthropic: to the last end
    r"^[ \t]*(?:<[|｜]?(?:[\w.]{1,20}[:|｜])?(?:tool[_▁ ]?calls?|function[_▁ ]?calls?|python_tag)[\w▁]{0,40}[|｜]?>"
    r"|<function=|<(?:\w{1,20}:)?invoke\s|\[TOOL_CALLS?\]|\]<\]\w{1,20}\[>\[)"
    r"(?:.*(?:</[^<>\n]{1,40}>|<[|｜][^<>|｜\n]{1,40}end[|｜]>)|.*)",
    re.MULTILINE | re.IGNORECASE | re.DOTALL,
)
MARK = (  # no code stands in one, which is \0 here
    r"(?:<[|｜]([^<>|｜\n\0]{1,60})[|｜]>|<(/?s|eos|bos|pad|unk|eod|(?:start|end)_of_\w{1,20})>|\[(/?INST)\])"
)
# What stands around one that begins or ends a line, but for other marks.
BEGINS, ENDS = r"(?:^|(?<=[|｜]>)|(?<=turn>|INST\]|<eo[sd]>)|(?<=/s>))[ \t]*", rf"[ \t]*(?=$|{MARK})"
PLACED_MARK = re.compile(rf"(?P<begins>{BEGINS})?{MARK}(?P<ends>{ENDS})?", re.MULTILINE)
LEADING_MARKS = re.compile(rf"\s*(?:{MARK}\s*(?:(?:assistant|model)[ \t]*(?=\n|<|\Z))?\s*){{1,1000}}")
MOST_MARKS = 10_000  # are looked at: each takes a kilobyte
TURN = re.compile(r"(im_)?start(_header_id|_of_turn)?|begin_of_sentence|user|human|inst")  # what opens one


def without_marks(text: str) -> str:
    """The words of an answer, without surrounding blanks; '' if there are none, only thoughts or the call of a tool."""
    text = without_thoughts(without_block(THOUGHT_DETAILS, final_channel(text))).strip(BLANKS)
    return unwrapped(without_template(without_block(TOOL_CALL, text)).strip(BLANKS)).strip(BLANKS)


def calls_tool(text: str) -> bool:
    """Whether the answer has the call of a tool as text."""
    return bool(TOOL_CALL.search(without_code(text)))


def without_code(text: str) -> str:
    """The text with something of the same length in the place of code."""
    return CODE.sub(lambda code: "\0" * len(code[0]), text)


def without_block(block: re.Pattern[str], text: str) -> str:
    """The text without the first block like this that does not begin in code."""
    begin = block.search(without_code(text))
    found = block.match(text, begin.start()) if begin else None
    return text[: found.start()] + text[found.end() :] if found else text


def unwrapped(text: str) -> str:
    """What is in <answer>...</answer>, if that is all."""
    opening = re.match("<(answer|output|final_answer)>", text, re.IGNORECASE)
    return text[opening.end() :].removesuffix(f"</{opening[1]}>") if opening else text


def without_template(text: str) -> str:
    """The text without the marks of a model's template: around it, alone on a line, or in pairs; none of a sentence.

    '<|begin_of_box|>4<|end_of_box|>' -> '4'. What follows the beginning of another turn is made up, and goes too.
    """
    plain = without_code(text)
    marks = {
        mark: next(filter(None, mark.group(2, 3, 4))).replace("▁", "_").lower()
        for mark in itertools.islice(PLACED_MARK.finditer(plain), MOST_MARKS)
    }
    names = {*marks.values()}
    if {"s", "/s"} <= names:
        return text  # words that are struck through
    leading = LEADING_MARKS.match(plain)
    first = leading.end() if leading else 0
    turns = (mark.start() for mark, name in marks.items() if mark["begins"] is not None and TURN.fullmatch(name))
    last = next((turn for turn in turns if turn > first), len(text))
    last = len(PLACED_MARK.sub(lambda mark: " " * len(mark[0]), plain[:last]).rstrip(BLANKS))
    closed = {name.replace("begin", "end") for name in names if "begin" in name} & names
    words = ""
    for mark, name in marks.items():
        alone = mark["begins"] is not None and mark["ends"] is not None
        if first <= mark.start() < last and (alone or name.replace("begin", "end") in closed):
            words += text[first : mark.start()]
            first = mark.end()
    return words + text[first:last]


def without_thoughts(text: str) -> str:
    """The answer without what a reasoning model thought first: <think>...</think> and its relatives, outside code.

    Either tag may be missing: what stands before a lone closing tag was thought, and so was all if the answer begins
    with an opening one. Further down only a block of its own was: elsewhere the answer speaks of the tag.
    """
    plain = without_code(text)
    answer, end = "", 0  # of the last thought
    start, leading, mentioned = None, True, False
    for tag in THOUGHT_TAG.finditer(plain):
        if tag["closing"] and (start is not None or not (mentioned or end)):
            answer += text[end : start or 0]
            start, end = None, tag.end()
        elif tag["opening"] and start is None:
            leading = leading and not plain[end : tag.start()].strip(BLANKS)
            if leading or (tag["block"] is not None and not MARKUP_TAG.match(tag["opening"])):
                start = tag.start()
            mentioned = mentioned or start is None
    if start is not None and leading:  # never closed, unless in what only looks like code
        closings = (tag.end() for tag in THOUGHT_TAG.finditer(text, start) if tag["closing"])
        end = next(closings, len(text))
    answer += text[end:]
    in_xml = not answer.strip() and MARKUP_TAG.match(text.lstrip())  # as somebody may want it
    return text if in_xml else answer


def final_channel(text: str) -> str:
    """What gpt-oss says in its final channel, if the service left its marks in the text; '' if it did not get there."""
    if not re.match(r"\s*(<\|start\|>assistant)?<\|channel\|>|analysis\S.*assistantfinal", text, re.DOTALL):
        return text
    final = re.split(r"<\|channel\|>final[^\n|]{0,99}(?:<\|constrain\|>\w{1,20})?<\|message\|>|assistantfinal", text)
    return re.split(r"<\|(?:return|end|call|start)\|>", final[-1])[0] if len(final) > 1 else ""

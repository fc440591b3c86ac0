"""The service's own words, with nothing in them that belongs to somebody: for the chat and for the log."""

import re
from collections.abc import Iterable

from bot.logs import plain_words

MASK = "…"
MOST_CHARACTERS, MOST_READ = 200, 2000
# So much of a question in a row is recognised as part of it: characters, and those of Chinese and its neighbours.
ASKED_CHARACTERS, ASKED_IDEOGRAPHS = 12, 4
WORD_CHARACTERS = 8  # a shorter text may be part of a word
ADDRESSES = re.compile(
    r"[\w.+-]{1,20}:/?/\S*|[^\s@]{1,80}@[\w.-]{1,80}"
    r"|\b(?:[\w-]{1,63}\.){1,8}(?:com|cn|net|org|io|ai|dev|app|xyz|top|cloud|local|internal|example|test)\b(?::\d+)?(?:/\S*)?"
    r"|\b(?:[\w-]{1,63}\.){1,8}[\w-]{1,63}(?::\d{2,5}\b|/\S*)|\blocalhost\S*|\b\d{1,3}(?:\.\d{1,3}){3}\b\S*"
    r"|(?<![\w:])(?:[0-9a-fA-F]{0,4}:){3,7}[0-9a-fA-F]{0,4}(?!\w)",
    re.ASCII,
)
OWNERS = re.compile(  # who a number or a quoted name belongs to
    r"\b((?:account|organi[sz]ation|org|team|project|tenant|user|workspace|customer)s?(?: ids?)?[\s:=]{1,3})"
    r"(?:[`'\"<(][^`'\"<>()\s]{1,80}[`'\">)]|(?=[\w-]{0,80}\d)[\w-]{1,80})",
    re.IGNORECASE | re.ASCII,
)
KEYS = re.compile(  # what begins as keys and ids do, was masked before, or follows such a word
    r"\b(?:sk|ak|pk|rk|bce|org|proj|acct|cus|ltai|akid)[-_][\w*.-]+|\b(?:key|req|user|team)-[\w*.-]+|\bBearer \S+"
    r"|[^\s'\"`]{0,80}\*{3}[^\s'\"`]{0,80}|\b[0-9a-f]{8}-[0-9a-f-]{13,}",
    re.IGNORECASE | re.ASCII,
)
WORDS = re.compile(r"(?:[A-Z]?[a-z]{2,14}|[A-Z]{2,14}){1,6}")  # what is as long as a key, but was put together of words


def quotable(texts: Iterable[str], private: Iterable[str]) -> str:
    """What a service says as one short line: no JSON, keys, tokens, addresses, ids of accounts, words of a person."""
    text = " ".join(dict.fromkeys(" ".join(text.split()) for text in texts))[:MOST_READ]
    text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda code: chr(int(code[1], 16)), text)
    if re.search("[{}]", text):
        text = re.sub(r'[{}"\\]', "", text)
    text = masked(plain_words(text, MOST_READ), private)
    text = re.sub(rf"{MASK}(?:[\s`'\"<>()]*{MASK})+", MASK, text)
    return text[:MOST_CHARACTERS] if re.search(r"\w", text) else ""


def masked(text: str, private: Iterable[str]) -> str:
    """The text without what is private, and without what looks as if it were."""
    text = without_parts(text, private)
    text = OWNERS.sub(rf"\1{MASK}", KEYS.sub(MASK, ADDRESSES.sub(MASK, text)))
    return re.sub(r"[A-Za-z0-9+=_]{9,}", lambda run: MASK if is_like_key(run[0]) else run[0], text)


def without_parts(text: str, private: Iterable[str]) -> str:
    """The text without the parts, of some length, that it has in common with others; a question may be 'hi'."""
    texts = sorted({" ".join(each.split()) for each in private}, key=len, reverse=True)
    known, hidden = "\0".join(texts), bytearray(len(text))
    for size, pattern in ((ASKED_IDEOGRAPHS, r"[\u3040-\u9fff\uac00-\ud7af]"), (ASKED_CHARACTERS, r"[^\0]")):
        own = {text[start : start + size] for start in range(len(text) - size + 1)}
        common = own.intersection(known[start : start + size] for start in range(len(known) - size + 1))
        parts = {part for part in common if re.fullmatch(f"{pattern}{{{size}}}", part)}
        for start in range(len(text) - size + 1):
            if text[start : start + size] in parts:
                hidden[start : start + size] = b"\1" * size
    text = "".join(MASK if hide else sign for hide, sign in zip(hidden, text, strict=True))
    short = [re.escape(each) for each in texts if 1 < len(each) < ASKED_CHARACTERS]
    alone = [f"(?<![A-Za-z0-9]){each}(?![A-Za-z0-9])" if len(each) < WORD_CHARACTERS else each for each in short]
    return re.sub(f"{MASK}+", MASK, re.sub("|".join(alone) or "(?!)", MASK, text))


def is_like_key(run: str) -> bool:
    """Whether letters and figures in a row are a key, a token or a number of somebody, and no words."""
    if run.isdigit() or (len(run) >= 16 and sum(map(str.isdigit, run)) >= 6):
        return True
    return any(
        (len(part) >= 12 and any(map(str.isdigit, part))) or (len(part) >= 16 and not WORDS.fullmatch(part))
        for part in run.split("_")
    )


def is_plain(code: str, private: Iterable[str]) -> bool:
    """Whether a code may stand in the log: a short word, no part of what is private, nor like a key or an address."""
    plain = re.fullmatch(r"[A-Za-z0-9_.:-]{1,60}", code) and masked(code, ()) == code
    return bool(plain) and not any(code in text for text in private)

"""The service's own words, with nothing in them that belongs to somebody."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot import masking

PRIVATE = (
    "sk-example",
    "https://ai.example.com/v1",
    "我想知道怎么离婚",
    "please help me with my divorce papers",
    "hi",
    "离婚",
)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("The model `gpt-4o-mini-2024-07-18` does not exist", "The model `gpt-4o-mini-2024-07-18` does not exist"),
        ("max_tokens is too large: 131072", "max_tokens is too large: 131072"),
        ("范围是 [1, 8192]", "范围是 [1, 8192]"),
        ("a\n\n  b\t\x1b[31mc", "a b [31mc"),
        ('{"error": {"message": "坏了"', "error: message: 坏了"),
        # keys, tokens, numbers
        ("Incorrect API key provided: sk-proj-0123456789abcdefghij.", "Incorrect API key provided: …"),
        ("Incorrect API key provided: sk-pr***wxyz", "Incorrect API key provided: …"),
        ("key 8f14e45fceea167a5a36dedd4bea2543 is bad", "key … is bad"),
        ("Authorization: Bearer abc", "Authorization: …"),
        ("token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc is bad", "token ….….abc is bad"),
        ("key xsk-exampley is bad", "key x…y is bad"),
        ("call 13800138000", "call …"),
        ("request 3f2504e0-4f89-11d3-9a0c-0305e82c3301", "request …"),
        # addresses and who lives there
        ("see https://example.com/a?b=c for more", "see … for more"),
        ("upstream 10.0.0.1:8080 refused", "upstream … refused"),
        ("host gateway.corp.internal:8443 failed", "host … failed"),
        ("localhost:11434 failed", "… failed"),
        ("ask admin@example.com", "ask …"),
        # accounts
        ("Your account 2100123 is in arrears", "Your account … is in arrears"),
        ("organization org-abc123 and project proj_x", "organization … and project …"),
        ("in organization `acme` on tokens", "in organization … on tokens"),
        ("Your account org-ex / proj-ex <ak-ex> request", "Your account … / …> request"),
        # what was asked
        ("You said: 我想知道怎么离婚", "You said: …"),
        ("blocked: 想知道怎么离", "blocked: …"),
        ("\\u6211\\u60f3\\u77e5\\u9053 is bad", "… is bad"),
        ("prompt 'help me with my divorce' is bad", "prompt '…' is bad"),
        ("prompt: hi", "prompt: …"),
        ("this", "this"),
        ("prompt: hi, 离婚 and please help me with 离婚", "prompt: …, … and …"),
        ("sk-example", ""),
    ],
)
def test_what_belongs_to_somebody_is_masked_and_the_rest_stays(said: str, shown: str) -> None:
    """Numbers and names that a deployer needs are still there."""
    assert masking.quotable([said], PRIVATE) == shown


@pytest.mark.parametrize(
    ("private", "shown"),
    [([], "坏了。（hi you）"), (["", "u", "了"], "坏了。（hi you）"), (["hi", "hi you"], "坏了。（…）")],
)
def test_short_question_hides_itself_and_nothing_else(private: list[str], shown: str) -> None:
    """One character is in every text; the longest word counts."""
    assert masking.masked("坏了。（hi you）", private) == shown


def test_several_texts_are_one_short_line() -> None:
    """Each once, and no more than fits below a sentence."""
    assert masking.quotable(["a b", "a  b", "c"], ()) == "a b c"
    assert len(masking.quotable(["字 " * 5000], ())) == masking.MOST_CHARACTERS


@given(
    before=st.text(max_size=40),
    after=st.text(max_size=40),
    secret=st.sampled_from(PRIVATE[:4]) | st.from_regex(r"\A[a-z0-9]{24}\Z").filter(lambda text: not text.isalpha()),
)
def test_no_secret_gets_through_whatever_stands_around_it(before: str, after: str, secret: str) -> None:
    """Between blanks or quotation marks, as services write it."""
    assert secret not in masking.quotable([f"{before} '{secret}' {after}"], PRIVATE)


@pytest.mark.parametrize("text", ["a." * 5000, "a" * 9999, "1-" * 5000, "'" * 9999, ":0" * 5000, "账" * 9999])
def test_masking_takes_no_time(text: str) -> None:
    """Whatever a service says, and whatever was asked."""
    started = time.process_time()
    masking.quotable([text], [text * 10])
    assert time.process_time() - started < 1


def test_long_history_is_masked_in_no_time() -> None:
    """All of it is searched at once, for each try: outside every deadline."""
    history = ["".join(chr(0x4E00 + (7 * turn + 31 * place) % 20_000) for place in range(500)) for turn in range(300)]
    said = "".join(chr(0x4E00 + 53 * place % 20_000) for place in range(1900)) + history[299][:5]
    started = time.process_time()
    assert history[299][:5] not in masking.masked(said, history)
    assert time.process_time() - started < 0.6

"""What Serverless Devs makes of .env, and what `python3 -m deploy check` says of it.

Every value in these tables was given to Serverless Devs 3.1.10, which deployed what stands beside it: by an s.yaml of
edition 1.0.0 (Function Compute 2.0) and one of edition 3.0.0, with a component that only wrote down what it got.
"""

from __future__ import annotations

import random

import pytest

from deploy import dotenv

each_generation = pytest.mark.parametrize("generation", dotenv.EXPANSIONS)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("X=1", "1"),
        ("  export X = b ", "b"),
        ("X: v", "v"),
        ("X=b # c", "b"),
        ("X=a=b", "a=b"),
        ("X=  two  words  ", "two  words"),
        ('X="  kept  " # c', "  kept  "),
        ("X='a\\nb#c'", "a\\nb#c"),
        ('X="a\\nb#c"', "a\nb#c"),
        ('X="a\\rb"', "a\rb"),
        ('X="a\\tb"', "a\\tb"),
        ('X="a\nb#c"', "a\nb#c"),
        ("X=`a\"b'c`", "a\"b'c"),
        ('X="a\\"b"', 'a\\"b'),
        ('X="open', '"open'),
        ('X=a "b"', 'a "b"'),
        ('X={"a": [1]}', '{"a": [1]}'),
        ("X=true", "true"),
        ("X=0123", "0123"),
        ("X=", ""),
        ("X= # c", ""),
        ("X=1\r\nY=2", "1"),
        ("# X=1\nX=2", "2"),
    ],
)
@each_generation
def test_dotenv_is_read_as_s_reads_it(line: str, value: str, generation: int) -> None:
    """Alike on both generations as long as there is no $."""
    values, problems = dotenv.read(f"{line}\n")
    assert (dotenv.arriving(values, {}, generation)["X"], problems) == (value, {})
    assert dotenv.changes(values, {}, set(), generation) == {}


@pytest.mark.parametrize(
    ("lines", "value"),
    [
        ("X=1\nX=2", "2"),
        ("X=1\nX=", ""),
        ("X: 1\nexport X = '2' # c", "2"),
        ('X="1\n1"\nX=2', "2"),
        ("Y=1\nX=a$Y\nY=2", "a2"),
    ],
)
@each_generation
def test_last_line_of_a_name_counts(lines: str, value: str, generation: int) -> None:
    """On both generations, also if it is empty."""
    assert dotenv.arriving(dotenv.read(lines)[0], {}, generation)["X"] == value


@pytest.mark.parametrize(
    ("lines", "on_2", "on_3"),
    [
        (r"X=a\\$b", "a$b", "a"),
        (r"X=a\\\$b", r"a\$b", "a$b"),
        (r"X=a\\\\$b", r"a\\$b", r"a\$b"),
        (r"X=sk-\\$HOMEx-123", "sk-$HOMEx-123", "sk--123"),
        ("X=a$b", "a", "a"),
        ("X='a$b'", "a", "a"),
        ('X="a$b"', "a", "a"),
        (r"X=a\$b", "a", "a"),
        ("X=$Y\nY=yy", "yy", "yy"),
        ("X=${Q:-d}", "d", "d"),
        ("X=cost 5$ a", "cost 5$ a", "cost 5$ a"),
        ('X={"a":"$1"}', '{"a":""}', '{"a":""}'),
        ("X=$$", "$", "$$"),
        (r"X=\\$\\$b", "$b", "$"),
        ("X=${env(Y)}", "(Y)}", "(Y)}"),
    ],
)
def test_dollar_arrives_as_s_deploys_it(lines: str, on_2: str, on_3: str) -> None:
    """Expanded several times: each time a backslash goes, and a $ without one goes with the name behind it."""
    values, _ = dotenv.read(f"{lines}\n")
    assert [dotenv.arriving(values, {}, generation)["X"] for generation in (2, 3)] == [on_2, on_3]


@pytest.mark.parametrize(
    ("value", "file", "on_2", "on_3"),
    [
        ("a$b", "", "a$b", "a$b"),
        (r"a\$b", "", r"a\$b", r"a\$b"),
        ("$1", "", "$1", "$1"),
        ("$$", "", "$", "$$"),
        ("x$'y", "", "xy", "x$'y"),
        ("a$b", "X=", "a", "a"),
        (r"a\$b", "X=", "a", "a"),
    ],
)
def test_variable_of_the_shell_arrives_unchanged_unless_dotenv_has_a_line_for_it(
    value: str, file: str, on_2: str, on_3: str
) -> None:
    """On 2.0 a $ before a punctuation mark is lost all the same."""
    values, _ = dotenv.read(f"{file}\n")
    assert [dotenv.arriving(values, {"X": value}, generation)["X"] for generation in (2, 3)] == [on_2, on_3]
    for generation, arrived in ((2, on_2), (3, on_3)):
        told = dotenv.changes(values, {"X": value}, {"X"}, generation)
        assert bool(told) == (arrived != value)
        assert value not in told.get("X", "")


@pytest.mark.parametrize(
    ("lines", "generation", "words"),
    [
        (r"X=sk-\\$HOMEx-123", 3, r"X has a $ and would arrive changed: on 3.0 write each $ as \\\$ ; 2.0 needs \\$ ,"),
        (
            r"X=sk-\\\$HOMEx-123",
            2,
            r"X has a $ and would arrive changed: on 2.0 write each $ as \\$ ; 3.0 needs \\\$ ,",
        ),
        ("X=sk-$HOMEx-123", 2, r"on 2.0 write each $ as \\$ ;"),
        ("X='sk-$HOMEx-123'", 3, r"on 3.0 write each $ as \\\$ ;"),
        ("X=sk-$$b", 2, r"on 2.0 write each $ as \\$\\$ ;"),
        (r"X=sk-\\${b}-123", 2, "X has a ${"),
        (r"X=sk-\\\${b}-123", 3, "X has a ${"),
        ("X=sk-$X", 2, r"on 2.0 write each $ as \\$ ;"),  # refers to itself: the tool breaks off
    ],
)
def test_value_that_would_arrive_changed_is_named_with_the_way_to_write_it(
    lines: str, generation: int, words: str
) -> None:
    """And nothing of the value is shown."""
    values, _ = dotenv.read(f"{lines}\n")
    told = dotenv.changes(values, {}, set(), generation)
    assert words in told["X"]
    assert "sk-" not in told["X"] and "123" not in told["X"]


@pytest.mark.parametrize(
    ("lines", "generation"),
    [(r"X=sk-\\$HOMEx-123", 2), (r"X=sk-\\\$HOMEx-123", 3), ("X=5$", 2), ("X=5$", 3), (r"X=\\$\\$&", 2)],
)
def test_value_that_arrives_as_it_was_meant_is_not_named(lines: str, generation: int) -> None:
    """The same line may be right on one generation and wrong on the other."""
    values, _ = dotenv.read(f"{lines}\n")
    assert dotenv.changes(values, {}, set(), generation) == {}


@each_generation
def test_value_written_as_the_sentence_says_arrives(generation: int) -> None:
    """Whatever is in it, but for a backslash before the $, and ${."""
    chance = random.Random(7)
    for _ in range(500):
        value = "k" + "".join(chance.choices([*"ab$$}&'`1 ?*", ":-", "HOME"], k=9)) + "e"
        values, _ = dotenv.read(f"X={dotenv.written(value, generation)}\nHOME=home\n")
        assert dotenv.arriving(values, {}, generation)["X"] == value
        assert dotenv.changes(values, {}, set(), generation) == {}


@pytest.mark.parametrize(
    ("line", "where", "words"),
    [
        ("X=write C#", "X", "X has a #"),
        ('X={"a": "b#c"}', "X", "X has a #"),
        ("X=#1", "X", "X has a #"),
        ("X sk-secret", "line 2", "line 2 is not NAME=value"),
        ("X=1\n=sk-secret", "line 3", "line 3 is not NAME=value"),
    ],
)
def test_dotenv_that_s_reads_otherwise_than_it_was_meant_is_a_problem(line: str, where: str, words: str) -> None:
    """Serverless Devs itself says nothing: a part of the value is missing, or all of it."""
    _, problems = dotenv.read(f"\n{line}\n")
    assert words in problems[where]
    assert "secret" not in problems[where]


@each_generation
@pytest.mark.parametrize(
    "value",
    ["plain", "a b", "a#b", "a $b", "it's", "$$&", '{"a": [1]}', '{"a": "b#c"}', "'q'", "`x'y", "a\\b", "要 #1"],
)
def test_value_that_is_written_into_the_file_arrives(value: str, generation: int) -> None:
    """In place of the line that counts, or of the example, or at the end; and all other lines stay."""
    for text in ("X=\n", "A=1\n# X=example\nB=2\n", "A=1\nB=2", "X='old\nvalue'\nB=2\n", "X=1\nX=2\n"):
        written = dotenv.with_line(text, "X", value, generation)
        values, problems = dotenv.read(written)
        assert (dotenv.arriving(values, {}, generation)["X"], problems) == (value, {})
        kept = {name: number for name, number in dotenv.read(text)[0].items() if name != "X"}
        assert {name: values[name] for name in kept} == kept


def test_line_of_a_name_is_the_one_that_counts() -> None:
    """After a value of several lines, and where a name stands twice."""
    text = 'A="1\n2"\r\nB=1\n# C=1\nC=2\nB=3\n'
    assert dotenv.lines(text) == {"A": 1, "B": 6, "C": 5}
    assert dotenv.inside_values('A="1\nB=2\nC = 3\n"\nC=4\n') == {"B": 2}

"""READMEs and docs: equal in both languages, and true where the files of the repository can tell."""

from __future__ import annotations

import ast
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bot import VERSION
from bot.sentences import zh
from tests.stand_ins.local_cloud import REPLY, ROOT

PAGES = sorted(path.name for path in (ROOT / "docs/en").iterdir())
PAIRS = [("README.md", "README.zh-CN.md"), *((f"docs/en/{page}", f"docs/zh/{page}") for page in PAGES)]
DOCUMENTS = [document for pair in PAIRS for document in pair]
SETTINGS = ("docs/en/settings.md", "docs/zh/settings.md")
TROUBLESHOOTING = ("docs/en/troubleshooting.md", "docs/zh/troubleshooting.md")
PERMISSIONS = "docs/en/permissions.md"
MAX_README_LINES = 200
PICTURES = "tests/playground/pictures/"

each_document = pytest.mark.parametrize("document", DOCUMENTS)
each_pair = pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=["README.md", *PAGES])
each_troubleshooting = pytest.mark.parametrize("document", TROUBLESHOOTING)


def text_of(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def prose(document: str) -> str:
    """The text without its code blocks."""
    return re.sub(r"^```.*?^```$", "", text_of(document), flags=re.MULTILINE | re.DOTALL)


def headings(document: str) -> list[tuple[str, str]]:
    """Level ('##') and words."""
    return re.findall(r"^(#+) (.+)$", prose(document), flags=re.MULTILINE)


def code_blocks(document: str) -> list[tuple[str, str]]:
    """Language and content."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text_of(document), flags=re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """Each command in a block of the documents, once."""
    lines = [
        line
        for document in DOCUMENTS
        for kind, code in code_blocks(document)
        if kind == "sh"
        for line in code.splitlines()
    ]
    return sorted({command for line in lines for command in line.split(" && ")})


def tables(text: str) -> list[list[list[str]]]:
    """The cells of each table row by row, without the rule below the head."""
    found = re.findall(r"(?:^\|.*\|\n)+", text, flags=re.MULTILINE)
    return [[row.strip("|").split("|") for row in table.splitlines() if set(row) - set("|- ")] for table in found]


def links(document: str) -> list[str]:
    """The targets of all links and pictures."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(document))


def anchors(document: str) -> list[str]:
    """What GitHub makes of the headings: '5. The tool: `s`' -> '5-the-tool-s'"""
    return [re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-") for _, words in headings(document)]


def quoted_in_troubleshooting(document: str) -> list[str]:
    """What the tables say that the chat, the log or a self-check shows: the code in their first columns."""
    parts = re.split(r"^## ", prose(document), flags=re.MULTILINE)
    rows = [
        row for part in parts[3:] for table in tables(part) for row in table
    ]  # the deployment tool's words are not ours
    return [quote for row in rows for quote in re.findall(r"`([^`]+)`", row[0])]


def sentences() -> list[str]:
    """Every text in the two function files and bot/, with … for each part that is filled in."""
    texts = []
    files = [*ROOT.glob("Dingtalk_*.py"), *(ROOT / "bot").rglob("*.py")]
    for node in (node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))):
        if isinstance(node, ast.JoinedStr):
            texts.append("".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.append(re.sub(r"%[.\d]*[a-z]|\{\w*\}", "…", node.value))
    return texts


# --- both languages ---


def test_both_languages_have_the_same_pages() -> None:
    """A page that exists in one language only is a page forgotten."""
    assert [path.name for path in sorted((ROOT / "docs/zh").iterdir())] == PAGES


@each_pair
def test_page_has_the_same_headings_in_both_languages(english: str, chinese: str) -> None:
    """The same levels in the same order."""
    assert [level for level, _ in headings(english)] == [level for level, _ in headings(chinese)]


@each_pair
def test_page_has_the_same_code_in_both_languages(english: str, chinese: str) -> None:
    """What is typed and what is shown; only a diagram is in its language."""

    def comparable(document: str) -> list[tuple[str, object]]:
        return [(kind, len(code.splitlines()) if "▼" in code else code) for kind, code in code_blocks(document)]

    assert comparable(english) == comparable(chinese)


@each_pair
def test_page_has_the_same_tables_in_both_languages(english: str, chinese: str) -> None:
    """As many, with as many rows and columns each."""

    def shape(document: str) -> list[list[int]]:
        return [[len(row) for row in table] for table in tables(prose(document))]

    assert shape(english) == shape(chinese)


@each_pair
def test_page_has_the_same_lists_in_both_languages(english: str, chinese: str) -> None:
    """A step that is missing in one language is missed by somebody."""

    def items(document: str) -> list[str]:
        return re.findall(r"^(\d+\.|-) ", prose(document), flags=re.MULTILINE)

    assert items(english) == items(chinese)


@each_pair
def test_page_leads_to_the_same_files_in_both_languages(english: str, chinese: str) -> None:
    """Each language to its own pages, and to the same pictures and files otherwise."""

    def files(document: str, own: str) -> list[str]:
        found = [link.partition("#")[0] for link in links(document) if not link.startswith("http")]
        names = [Path(file).name.replace(".zh-CN", "").replace(".zh.", ".").replace(".en.", ".") for file in found]
        assert not [file for file in found if f"/{own}/" in file and file != found[0]]
        return names

    assert files(english, "zh") == files(chinese, "en")


def test_settings_have_the_same_rows_in_both_languages() -> None:
    """The names, and a default that is code."""

    def rows(document: str) -> list[tuple[list[str], list[str]]]:
        (table,) = tables(prose(document))
        codes = [[re.findall(r"`([^`]+)`", cell) for cell in row] for row in table[1:]]
        return [(cells[0], cells[2]) for cells in codes]

    english, chinese = map(rows, SETTINGS)
    assert english == chinese


def test_troubleshooting_quotes_the_same_in_both_languages() -> None:
    """A symptom can be looked up in either language."""
    english, chinese = map(quoted_in_troubleshooting, TROUBLESHOOTING)
    assert english == chinese


# --- every document ---


@pytest.mark.parametrize("readme", PAIRS[0])
def test_readme_is_short(readme: str) -> None:
    """What one reads once per event is in docs/."""
    assert len(text_of(readme).splitlines()) <= MAX_README_LINES


@each_document
def test_headings_of_a_page_have_anchors_of_their_own(document: str) -> None:
    """Of two headings with the same words, only the first can be linked to."""
    assert len(set(anchors(document))) == len(anchors(document))


@each_document
def test_every_relative_link_leads_somewhere(document: str) -> None:
    """To a file that exists and, with an anchor, to one of its headings."""
    ours = re.compile(r"https?://|\.\./\.\./(actions|issues)\b")  # pages of GitHub, whoever has a copy of the project
    found = [link for link in links(document) if not ours.match(link)]
    assert found
    missing = []
    for link in found:
        path, _, anchor = link.partition("#")
        file = (ROOT / document).parent / path if path else ROOT / document
        name = os.path.relpath(file, ROOT)
        if name.startswith(PICTURES) and not (ROOT / PICTURES).is_dir():
            continue
        if not file.is_file() or (anchor and anchor not in anchors(name)):
            missing.append(link)
    assert missing == []


@each_document
def test_every_file_that_is_named_exists(document: str) -> None:
    """A file that was moved is named by its old place for a long time."""
    made_by_commands = (".package", ".s", ".env", "reply.zip", "live-report.md", "chat-", "python", "index.", "~")
    named = re.findall(r"`((?:[\w.-]+/)*[\w.-]+(?:/|\.(?:py|yaml|txt|md)))`", prose(document))
    assert [name for name in named if not name.startswith(made_by_commands) and not (ROOT / name).exists()] == []


# --- commands ---


def test_every_command_is_one_that_the_tests_know() -> None:
    """Those of other programs by their first words; ours are tried below."""
    others = ("npm install -g @serverless-devs/s@", "s ", "cp .env.example .env", "pip install -t . ")
    assert [command for command in commands() if not command.startswith(others) and command not in our_commands()] == []


def our_commands() -> list[str]:
    """Commands of this repository."""
    return [command for command in commands() if re.search(r"python3? -m (deploy|tests)\b", command)]


def marks(command: str) -> list[pytest.MarkDecorator]:
    """A start of pytest takes seconds: of the three of them, one will do by default."""
    return [pytest.mark.full] if re.search(r"-m tests( -n|$)", command) else []


@pytest.mark.parametrize("command", [pytest.param(command, marks=marks(command)) for command in our_commands()])
def test_command_of_ours_takes_its_arguments(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --help, so that it ends at once: what stands before that must be right. A process would cost a second."""
    python, option, module, *arguments = [
        word for word in shlex.split(command) if not re.fullmatch(r"[A-Z_]+=.*", word)
    ]
    assert (python, option) == ("python3", "-m")
    if module == "tests":  # pytest in a test of pytest
        run = [sys.executable, "-m", module, *arguments, "--help"]
        done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0 and "usage:" in done.stdout, done.stderr
        return
    monkeypatch.setattr(sys, "argv", [module, *arguments, "--help"])
    monkeypatch.delitem(sys.modules, f"{module}.__main__", raising=False)  # another test may have imported it
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    assert not ended.value.code and "usage:" in capsys.readouterr().out


def test_command_of_serverless_devs_names_a_file_that_exists() -> None:
    """And begins with a word that the tool knows."""
    words = [shlex.split(command) for command in commands() if command.startswith("s ")]
    assert {each[1] for each in words} == {"-v", "config", "deploy", "remove", "reply", "set"}
    assert {each[each.index("-t") + 1] for each in words if "-t" in each} == {"s.fc3.yaml"}
    assert "reply" in yaml.safe_load(text_of("s.yaml"))["services"]


def test_command_for_the_terminal_of_the_console_installs_what_is_pinned() -> None:
    """The same versions as in the zip file."""
    (command,) = [command for command in commands() if command.startswith("pip install -t . ")]
    pinned = re.findall(r"^(\S+==\S+)", text_of("requirements.txt"), flags=re.MULTILINE)
    assert sorted(command.split()[4:]) == sorted(pin for pin in pinned if not pin.startswith("aliyun-fc2"))


# --- content ---


def test_policies_allow_what_the_functions_do_and_no_more() -> None:
    """The same actions as in s.yaml, and the log; on 3.0 without a service in the function's name."""
    service = yaml.safe_load(text_of("s.yaml"))["vars"]["service"]
    (policy,) = service["role"]["policies"]
    needed = {action for part in policy["statement"] for action in part["Action"]} | {"log:PostLogStoreLogs"}
    documents = [json.loads(code) for kind, code in code_blocks(PERMISSIONS) if kind == "json"]
    assert len(documents) == 2
    for generation, document in zip((2, 3), documents, strict=True):
        parts = document["Statement"]
        actions = [part["Action"] if isinstance(part["Action"], list) else [part["Action"]] for part in parts]
        assert {action for several in actions for action in several} == needed
        (invoked,) = [part["Resource"] for part in parts if part["Action"] == "fc:InvokeFunction"]
        assert ("services/" in str(invoked)) == (generation == 2) and REPLY in str(invoked)


@each_troubleshooting
def test_every_sentence_quoted_is_one_of_the_functions(document: str) -> None:
    """A person searches the page for what the chat or the log shows, so it must stand there as it is shown."""
    shown = "\n".join(sentences())
    quotes = quoted_in_troubleshooting(document)
    assert quotes
    for quote in quotes:
        assert re.search(".*".join(map(re.escape, quote.split("…"))), shown), quote


@each_troubleshooting
def test_every_failure_can_be_looked_up(document: str) -> None:
    """All that Dingtalk_ChatGPT_Reply may say to a person when something is wrong."""
    said = [*zh.FAILURES.values(), *zh.OSS_HINTS.values()]
    said += [*zh.UNREADABLE.values(), zh.OVER_QUOTA, zh.USER_REFUSED, zh.GROUP_REFUSED, zh.LIMIT_REACHED]
    said += [zh.INTERNAL, zh.WITHHELD, zh.SWITCHED_OFF]
    said += [*zh.NOT_SEEN.values(), *zh.PICTURES_REFUSED.values()]
    quotes = quoted_in_troubleshooting(document)
    hints = {"请检查环境变量 OSS_BUCKET_NAME": "NoSuchBucket"}  # looked up by its code, which comes with it
    assert [text for text in said if re.sub(r"\{\w*\}", "…", hints.get(text, text)) not in quotes] == []


def test_changes_name_the_version_that_runs() -> None:
    """Below what is unreleased, the newest version is the one that \\status shows."""
    versions = re.findall(r"^## (\S+)", text_of("CHANGELOG.md"), flags=re.MULTILINE)
    assert versions[:2] == ["Unreleased", VERSION]

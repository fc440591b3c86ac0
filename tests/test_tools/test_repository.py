"""What holds for the files of the repository as they stand."""

from __future__ import annotations

import ast
import functools
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.stand_ins.local_cloud import CONVERSATION, REPLY, ROOT

PACKAGES = {
    CONVERSATION: {"fc2", "requests"},
    REPLY: {"httpx2", "openai", "oss2", "requests"},
}  # openai brings httpx2 along
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
MAX_LINE_OF_HANDLER, MAX_LINES_OF_FUNCTION, MAX_LINES_OF_FUNCTION_FILE, MAX_LINES_OF_ROOM = 100, 45, 250, 400
ROOMS = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for file in (ROOT / "bot").rglob("*.py")
}
SOURCES = {CONVERSATION: ROOT / f"{CONVERSATION}.py", REPLY: ROOT / f"{REPLY}.py", **ROOMS}
GROUND_FLOOR = {
    "bot",
    "connections",
    "deadline",
    "errors",
    "logs",
    "masking",
    "readers",
    "sentences",
    "settings",
    "values",
    "words",
}
WINGS = {"chatgpt", "dingtalk", "function_compute", "oss"}
JOINING = {"commands", "self_check"}  # use several wings, as the two function files do
WITHOUT_A_WIRE = (  # are tested by plain calls
    *(
        "settings",
        "values",
        "sentences",
        "dingtalk.message",
        "dingtalk.markdown",
        "dingtalk.parts",
        "dingtalk.inline",
        "dingtalk.tables",
        "dingtalk.signature",
    ),
    *("chatgpt.answers", "chatgpt.refusals", "chatgpt.causes", "chatgpt.marks", "masking", "function_compute.request"),
    *("chatgpt.responses", "chatgpt.sources", "chatgpt.pictures"),
)
WIRES = {"httpx2", "openai", "oss2", "requests", "fc2", "socket", "os"}

each_function = pytest.mark.parametrize("function", [CONVERSATION, REPLY])
each_source = pytest.mark.parametrize("source", SOURCES)


@functools.cache
def imports(source: str) -> frozenset[str]:
    """The full names of all modules that a file imports, wherever in it; of `from bot import x`, `bot.x`."""
    names: set[str] = set()
    for node in nodes_of(source):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "rooms import each other by their full names"
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & SOURCES.keys()
            names.update(inner or {str(node.module)})
    return frozenset(names)


@functools.cache
def text_of(source: str) -> str:
    return SOURCES[source].read_text(encoding="utf-8")


@functools.cache
def tree_of(source: str) -> ast.Module:
    return ast.parse(text_of(source))


@functools.cache
def nodes_of(source: str) -> tuple[ast.AST, ...]:
    """All nodes of the tree."""
    return tuple(ast.walk(tree_of(source)))


def place_of(source: str) -> str:
    """'bot.oss.journal' -> 'oss', 'bot.settings' -> 'settings', a function file -> its name."""
    return source.split(".")[1] if source.startswith("bot.") else source


@functools.cache
def reached(source: str) -> frozenset[str]:
    """The rooms that are imported when this one is, by way of others too."""
    found: set[str] = set()
    todo = [source]
    while todo:
        new = {name for name in imports(todo.pop()) if name in ROOMS} - found
        found |= new
        todo += new
    return frozenset(found)


# --- the house ---


def test_every_room_is_on_the_ground_floor_or_in_a_wing() -> None:
    """A new one has to be entered here, so that somebody decides where it belongs."""
    assert {place_of(room) for room in ROOMS} == GROUND_FLOOR | WINGS | JOINING


@each_source
def test_room_uses_only_what_it_may(source: str) -> None:
    """The ground floor uses itself; a wing the ground floor and itself; only the functions and JOINING join wings."""
    place = place_of(source)
    may = {
        **dict.fromkeys(GROUND_FLOOR, GROUND_FLOOR),
        **{wing: GROUND_FLOOR | {wing} for wing in WINGS},
        **dict.fromkeys(JOINING | {CONVERSATION, REPLY}, GROUND_FLOOR | WINGS | JOINING),
    }[place]
    wrong = [f"{source} -> {used}" for used in imports(source) & SOURCES.keys() if place_of(used) not in may]
    assert wrong == []


@each_source
def test_room_does_not_come_back_to_itself(source: str) -> None:
    """No circle: a room can be read, and tested, after those that it uses."""
    assert source not in reached(source)


def test_every_room_is_used() -> None:
    """By one function or the other."""
    assert {*ROOMS} - reached(CONVERSATION) - reached(REPLY) - {"bot.sentences.en"} <= {
        "bot",
        *(f"bot.{wing}" for wing in WINGS),
    }  # the folders themselves are imported on the way


@pytest.mark.parametrize("room", WITHOUT_A_WIRE)
def test_pure_room_has_no_wire(room: str) -> None:
    """Neither itself nor by what it uses."""
    rooms = {f"bot.{room}", *reached(f"bot.{room}")}
    assert {name.partition(".")[0] for each in rooms for name in imports(each)} & WIRES == set()


@each_source
def test_room_is_not_long(source: str) -> None:
    """Nor is one of its functions: one thing each, and what fills more than a screen can be split."""
    most = MAX_LINES_OF_ROOM if source in ROOMS else MAX_LINES_OF_FUNCTION_FILE
    assert len(text_of(source).splitlines()) <= most
    functions = [node for node in nodes_of(source) if isinstance(node, FUNCTIONS)]
    lengths = [((node.end_lineno or 0) - node.lineno + 1, node.name) for node in functions]
    assert [name for lines, name in lengths if lines > MAX_LINES_OF_FUNCTION] == []


@each_source
def test_room_says_what_it_is(source: str) -> None:
    """In the first line of its docstring."""
    assert (ast.get_docstring(tree_of(source)) or "").splitlines()[0].endswith((".", ":"))


# --- the function files ---


@each_function
def test_a_function_imports_with_its_rooms_alone_and_does_nothing_else(function: str, tmp_path: Path) -> None:
    """As it is uploaded; and importing must not cost a connection or a setting.

    The packages may look around when they are imported, so they come first; -I keeps our folders off sys.path.
    """
    shutil.copy(ROOT / f"{function}.py", tmp_path)
    shutil.copytree(ROOT / "bot", tmp_path / "bot")
    code = f"""
        import collections, logging, os, sys, threading
        import {", ".join(sorted(PACKAGES[function]))}

        class NotYet(collections.UserDict):
            def __getitem__(self, name): raise AssertionError(f"the environment is read: {{name}}")
            def __contains__(self, name): raise AssertionError(f"the environment is read: {{name}}")
            def __iter__(self): raise AssertionError("the environment is read")

        def watch(event, args):
            assert not event.startswith(("socket.", "subprocess.", "os.system")), event

        os.environ = NotYet()
        sys.addaudithook(watch)
        sys.path.insert(0, {str(tmp_path)!r})
        handlers, level = list(logging.root.handlers), logging.root.level
        import {function}
        assert {function}.__file__.startswith({str(tmp_path)!r}), {function}.__file__
        assert callable({function}.handler)
        assert threading.active_count() == 1
        assert (logging.root.handlers, logging.root.level) == (handlers, level)
        print("imported")
    """
    run = subprocess.run(
        [sys.executable, "-I", "-c", textwrap.dedent(code)],
        env={},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (run.returncode, run.stdout) == (0, "imported\n"), run.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {f"{function}.py", "bot", "__pycache__"}


@each_function
def test_a_function_needs_only_the_packages_that_it_may(function: str) -> None:
    """The standard library and the packages: Conversation runs on what the runtime already has."""
    sources = {function, *reached(function)}
    used = {name.partition(".")[0] for source in sources for name in imports(source)}
    assert used - set(sys.stdlib_module_names) - {"bot"} == PACKAGES[function]


@each_source
def test_room_uses_nothing_that_runs_foreign_code(source: str) -> None:
    """The history was once a pickle: whoever could write the object ran code in the function."""
    assert not imports(source) & {"pickle", "marshal", "shelve", "subprocess", "runpy", CONVERSATION, REPLY}
    called = {
        node.func.id for node in nodes_of(source) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not called & {"eval", "exec", "compile", "__import__"}


@each_source
def test_room_has_the_grammar_of_python_3_10(source: str) -> None:
    """The newest runtime of Function Compute 2.0; a SyntaxWarning (`is` with a text, say) fails as well."""
    ast.parse(text_of(source), feature_version=(3, 10))
    compile(text_of(source), source, "exec")


@each_function
def test_handler_is_the_first_function(function: str) -> None:
    """Whoever opens the file meets what Function Compute calls, on the first screens, before what it calls itself."""
    first = next(node for node in tree_of(function).body if isinstance(node, FUNCTIONS))
    assert first.name == "handler" and first.lineno <= MAX_LINE_OF_HANDLER


def test_only_the_handlers_look_at_the_environment() -> None:
    """Settings and the role's keys come from os.environ while a request runs, and nothing else does."""
    places = {source: text_of(source).count("os.environ") for source in SOURCES}
    assert {source for source, count in places.items() if count} == {CONVERSATION, REPLY}
    assert not [source for source in SOURCES if "getenv" in text_of(source)]


# --- requirements, signature ---


def test_every_requirement_is_pinned_and_explained() -> None:
    """One version each, and why it is there."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    requirements = [line for line in lines if line.strip() and not line.startswith("#")]
    for line in requirements:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*\s+# \S.{9,}", line), line
    names = {re.split("==", line)[0] for line in requirements}
    assert names == {"aliyun-fc2", "oss2", "openai", "requests"}


def test_signature_is_compared_in_constant_time() -> None:
    """No test can measure that, so this one reads the code: hmac.compare_digest compares it, and nothing else does."""
    functions = [node for node in tree_of("bot.dingtalk.signature").body if isinstance(node, ast.FunctionDef)]
    (function,) = [node for node in functions if node.name == "signature_problem"]
    compared = [ast.unparse(node) for node in ast.walk(function) if isinstance(node, ast.Compare)]
    assert not [comparison for comparison in compared if "wanted" in comparison or "sign" in comparison]
    assert "hmac.compare_digest(wanted, sign" in ast.unparse(function)

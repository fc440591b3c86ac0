"""What holds for the files of the repository as they stand."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

from tests.stand_ins.local_cloud import CONVERSATION, REPLY, ROOT, load

PACKAGES = {CONVERSATION: {"fc2", "requests"}, REPLY: {"openai", "oss2", "requests"}}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
MAX_LINE_OF_HANDLER, MAX_LINES_OF_FUNCTION = 100, 45

each_function = pytest.mark.parametrize("function", [CONVERSATION, REPLY])


def source_of(function: str) -> str:
    return (ROOT / f"{function}.py").read_text(encoding="utf-8")


def imported_by(function: str) -> set[str]:
    """Top-level names of all modules that the file imports, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source_of(function))):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names.add(str(node.module).partition(".")[0])
    return names


@each_function
def test_a_function_file_imports_alone_and_does_nothing_else(function: str, tmp_path: Path) -> None:
    """Pasted into the console it has no sibling; and importing must not cost a connection or a setting.

    The packages may look around when they are imported, so they come first; -I keeps our folders off sys.path.
    """
    shutil.copy(ROOT / f"{function}.py", tmp_path)
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
    assert {path.name for path in tmp_path.iterdir()} <= {f"{function}.py", "__pycache__"}


@each_function
def test_a_function_file_needs_only_the_packages_that_it_may(function: str) -> None:
    """The standard library and the four packages: Conversation runs on what the runtime already has."""
    others = imported_by(function) - set(sys.stdlib_module_names)
    assert others == PACKAGES[function]


@each_function
def test_a_function_file_does_not_know_its_sibling(function: str) -> None:
    """Neither by an import statement nor by importlib."""
    assert not imported_by(function) & {CONVERSATION, REPLY, "tests", "importlib", "runpy"}
    assert "__import__" not in source_of(function)


@each_function
def test_a_function_file_uses_nothing_that_runs_foreign_code(function: str) -> None:
    """The history was once a pickle: whoever could write the object ran code in the function."""
    assert not imported_by(function) & {"pickle", "marshal", "shelve", "subprocess"}
    called = {
        node.func.id
        for node in ast.walk(ast.parse(source_of(function)))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not called & {"eval", "exec", "compile"}


@each_function
def test_a_function_file_has_the_grammar_of_python_3_10(function: str) -> None:
    """The newest runtime of Function Compute 2.0; a SyntaxWarning (`is` with a text, say) fails as well."""
    ast.parse(source_of(function), feature_version=(3, 10))
    compile(source_of(function), function, "exec")


@each_function
def test_handler_is_the_first_function(function: str) -> None:
    """Whoever opens the file meets what Function Compute calls, on the first screens, before what it calls itself."""
    first = next(node for node in ast.parse(source_of(function)).body if isinstance(node, FUNCTIONS))
    assert first.name == "handler" and first.lineno <= MAX_LINE_OF_HANDLER


@each_function
def test_no_function_is_long(function: str) -> None:
    """One thing each: what fills more than a screen can be split."""
    nodes = [node for node in ast.walk(ast.parse(source_of(function))) if isinstance(node, FUNCTIONS)]
    lengths = [((node.end_lineno or 0) - node.lineno + 1, node.name) for node in nodes]
    assert lengths
    assert [name for lines, name in lengths if lines > MAX_LINES_OF_FUNCTION] == []


@each_function
def test_only_the_handler_looks_at_the_environment(function: str) -> None:
    """Settings come from read_settings(os.environ) while a request runs, the role's keys perhaps; and nothing else."""
    source = source_of(function)
    readers = ("read_settings(os.environ)", "role_credentials(context, os.environ)")
    assert [source.count(reader) for reader in readers] == [1, 1]
    assert source.count("os.environ") == 2
    assert "getenv" not in source


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
    tree = ast.parse((ROOT / f"{CONVERSATION}.py").read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    (function,) = [node for node in functions if node.name == "signature_problem"]
    compared = [ast.unparse(node) for node in ast.walk(function) if isinstance(node, ast.Compare)]
    assert not [comparison for comparison in compared if "wanted" in comparison or "sign" in comparison]
    assert "hmac.compare_digest(wanted, sign" in ast.unparse(function)


def setting_names(*functions: str) -> list[str]:
    """The settings that the functions read, each once, in order of the alphabet."""
    return sorted({setting[0] for function in functions for setting in load(ROOT / f"{function}.py").SETTINGS})


def required_names() -> list[str]:
    """Those without which the functions do not work, in order of the alphabet."""
    modules = [load(ROOT / f"{function}.py") for function in (CONVERSATION, REPLY)]
    return sorted(setting[0] for module in modules for setting in module.SETTINGS if setting[2] is module.REQUIRED)


@pytest.mark.parametrize("page", ["docs/en/settings.md", "docs/zh/settings.md"])
def test_every_setting_is_documented_and_no_other(page: str) -> None:
    """A setting that nobody can find does not exist, and one that is only documented does not work; required first."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    rows = [line.split("|") for line in lines if line.startswith("| `")]
    documented = [name for row in rows for name in re.findall(r"`([A-Z_]+)`", row[1])]
    assert sorted(documented) == setting_names(CONVERSATION, REPLY)
    required = [name for row in rows for name in re.findall(r"`([A-Z_]+)`", row[1]) if "**" in row[3]]
    assert sorted(required) == required_names()
    assert documented[: len(required)] == required


def test_every_setting_is_explained_in_the_example_of_dotenv_and_no_other() -> None:
    """Below a comment; what has a default, or may be left out, is switched off."""
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    listed = [line.partition("=")[0] for line in lines if re.match(r"(# )?[A-Z_]+=", line)]
    assert sorted(name.removeprefix("# ") for name in listed) == setting_names(CONVERSATION, REPLY)
    assert sorted(name for name in listed if not name.startswith("#")) == required_names()


@each_function
def test_every_setting_is_passed_on_by_s_yaml_and_no_other(function: str) -> None:
    """To the function that reads it, from the variable of the same name."""
    services = yaml.safe_load((ROOT / "s.yaml").read_text(encoding="utf-8"))["services"].values()
    (variables,) = [
        service["props"]["function"]["environmentVariables"]
        for service in services
        if service["props"]["function"]["name"] == function
    ]
    assert variables == {name: f"${{env({name})}}" for name in setting_names(function)}


def test_every_setting_is_in_s_fc3_yaml_and_no_other() -> None:
    """What is in .env reaches the functions of 3.0 as well; a service they do not have."""
    text = (ROOT / "s.fc3.yaml").read_text(encoding="utf-8")
    deployed = re.findall(r"^ +([A-Z_]+): \$\{env\('([A-Z_]+)', ''\)\}$", text, re.MULTILINE)
    assert all(name == variable for name, variable in deployed)
    names = [*setting_names(REPLY), *setting_names(CONVERSATION)]
    assert sorted(name for name, _ in deployed) == sorted(name for name in names if name != "SERVICE_NAME")
    assert text.count("${env(") == len(deployed)

"""`python3 -m deploy init` as somebody types into it, and what the other commands say when something is in the way."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from deploy import dotenv
from tests.stand_ins.local_cloud import CONVERSATION
from tests.stand_ins.runtimes import find_python
from tests.test_tools.test_deploy import HOME, NO_NETWORK, Clone
from tests.test_tools.test_deploy_mistakes import APP_KEY, APP_SECRET, DEEPSEEK, KEY_ID

pytestmark = pytest.mark.xdist_group("deploy")


def full(*row: object) -> Any:
    """A row that is one of several alike."""
    return pytest.param(*row, marks=pytest.mark.full)


KEY = "sk-2f6c1e0b9d8a47f3"
CHINESE = [
    "1",
    "3.0",
    "1",
    "1",
    "cn-hangzhou",
    "chat-of-ours",
    APP_SECRET,
    "2",
    "",
    KEY,
]  # "3.0" is no number: asked again
ENGLISH = ["2", "2", "us-west-1", "chat-of-ours", APP_SECRET, "1", "", KEY]


@pytest.fixture
def fresh(tmp_path: Path) -> Clone:
    """As somebody has it who just downloaded the project, in a folder with blanks and Chinese letters."""
    clone = Clone(tmp_path / "我的 项目")
    clone.copy()
    return clone


def init(clone: Clone, *typed: str, command: str = "init") -> subprocess.CompletedProcess[str]:
    """What was printed after all that was typed, line by line."""
    return subprocess.run(
        [sys.executable, "-m", "deploy", *command.split()],
        cwd=clone.folder,
        env={**HOME, "PYTHONIOENCODING": "utf-8", "LANG": "C.UTF-8", "LC_ALL": ""},
        input="".join(f"{line}\n" for line in typed),
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )


def values_in(clone: Clone, generation: int) -> dict[str, str]:
    """What would arrive at the functions, without what is empty."""
    file = dotenv.read((clone.folder / ".env").read_text(encoding="utf-8"))[0]
    return {name: value for name, value in dotenv.arriving(file, {}, generation).items() if value}


def test_answers_are_in_dotenv_and_the_check_finds_nothing_wrong(fresh: Clone) -> None:
    """In Chinese, for 3.0: DeepSeek's address and model come with its name; nobody else may read the file."""
    done = init(fresh, "1", "3.0", "1", "cn-hangzhou", *CHINESE[5:])
    assert done.returncode == 0, done
    assert values_in(fresh, 3) == {
        "REGION": "cn-hangzhou",
        "OSS_BUCKET_NAME": "chat-of-ours",
        "DINGTALK_APP_SECRET": APP_SECRET,
        "CHATGPT_BASE_URL": DEEPSEEK,
        "CHATGPT_MODEL": "deepseek-v4-flash",
        "CHATGPT_API_KEY": KEY,
    }
    assert "s deploy -t s.fc3.yaml" in done.stdout and "s set analysis disable" in done.stdout
    assert not [secret for secret in (APP_SECRET, KEY) if secret in done.stdout + done.stderr]
    if os.name == "posix":
        assert stat.S_IMODE((fresh.folder / ".env").stat().st_mode) == 0o600
    checked = init(fresh, command="check --fc 3").stdout.splitlines()
    assert [line for line in checked if line.startswith("- .env")] == []


@pytest.mark.full
def test_english_is_asked_in_english_and_openai_needs_no_address(fresh: Clone) -> None:
    """OpenAI comes first there; all other settings are in the file, switched off."""
    done = init(fresh, *ENGLISH)
    assert "Deploy to which region?" in done.stdout and "哪个地域" not in done.stdout
    assert values_in(fresh, 2)["CHATGPT_MODEL"] == "gpt-6-luna"
    assert "CHATGPT_BASE_URL" not in values_in(fresh, 2)
    text = (fresh.folder / ".env").read_text(encoding="utf-8")
    assert text.count("\n") == (fresh.folder / ".env.example").read_text(encoding="utf-8").count("\n")
    assert "s deploy --use-local" in done.stdout


@pytest.mark.parametrize(
    ("at", "typed", "words"),
    [
        (2, "cn-hangzhou-b", "this is a zone; write the region: cn-hangzhou"),
        full(2, "99", "Function Compute has no such region"),
        (3, "your-bucket", "put in your own"),
        full(3, "My_Bucket", "OSS_BUCKET_NAME is malformed"),
        (4, APP_KEY, "this is an AppKey (Client ID)"),
        full(4, "", "This is needed."),
        (7, KEY_ID, "an AccessKey ID of Alibaba Cloud"),
        full(7, "Bearer sk-1", "remove the word Bearer"),
        full(7, "sk-a${b}", "still contains a variable"),
        (7, "sk-'`\"#1", "that the tool would spoil in .env"),
    ],
)
def test_answer_that_cannot_be_right_is_asked_again(fresh: Clone, at: int, typed: str, words: str) -> None:
    """By the rules of the check, before anything is written."""
    done = init(fresh, *ENGLISH[:at], typed, *ENGLISH[at:])
    assert done.returncode == 0, done
    assert words in done.stdout
    assert values_in(fresh, 2)["CHATGPT_API_KEY"] == KEY


@pytest.mark.parametrize("generation", [2, 3])
@pytest.mark.parametrize("key", ["sk-a$HOME$$#1", full("sk-'x\"#"), full("sk-a\\b")])
def test_key_with_signs_that_the_tool_would_change_arrives(fresh: Clone, generation: int, key: str) -> None:
    """It is written as that generation needs it."""
    done = init(fresh, "2", str(4 - generation), *ENGLISH[2:-1], key)
    assert done.returncode == 0, done
    assert values_in(fresh, generation)["CHATGPT_API_KEY"] == key


def test_file_that_is_there_is_changed_only_after_a_yes_and_keeps_what_is_not_asked(fresh: Clone) -> None:
    """Enter keeps what was there; other settings stay as they were."""
    file = fresh.folder / ".env"
    before = f"REGION=us-west-1\nDINGTALK_APP_SECRET={APP_SECRET}\nCHATGPT_API_KEY={KEY}\nOSS_BUCKET_NAME=old-bucket\n"
    before += 'SYSTEM_PROMPT="two\nlines"\n'
    file.write_text(before, encoding="utf-8")
    assert init(fresh, "2", "n").returncode == 0
    assert file.read_text(encoding="utf-8") == before
    assert init(fresh, "2", "y", "2", "", "new-bucket", "", "1", "", "").returncode == 0
    expected = {"REGION": "us-west-1", "OSS_BUCKET_NAME": "new-bucket", "SYSTEM_PROMPT": "two\nlines"}
    assert expected.items() <= values_in(fresh, 2).items()
    assert values_in(fresh, 2)["CHATGPT_API_KEY"] == KEY


@pytest.mark.full
def test_input_that_ends_writes_nothing(fresh: Clone) -> None:
    """A window that was closed, or a script."""
    done = init(fresh, *ENGLISH[:4])
    assert (done.returncode, done.stderr) == (1, "没有输入，什么都没有写。 / No input: nothing was written.\n")
    assert not (fresh.folder / ".env").exists()


# --- what is in the way of the other commands ---


@pytest.mark.parametrize("version", ["2.7", full("3.6"), "3.7"])
def test_python_that_is_too_old_says_so(fresh: Clone, version: str) -> None:
    """One sentence in both languages, and not where the Python stumbles."""
    python = find_python(version) or pytest.skip(f"no Python {version}")
    told = fresh.run(f"'{python}' -m deploy check", PYTHONIOENCODING="")
    assert told.returncode == 1
    assert f"Python {version} 太旧，请安装 Python 3.8" in told.stderr
    assert f"This is Python {version}; 3.8 or newer is needed." in told.stderr


@pytest.mark.full
def test_python_without_pip_is_told_before_anything_is_done(fresh: Clone, tmp_path: Path) -> None:
    """Only the package of Reply needs it."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True, timeout=60)
    bare = next((tmp_path / "bare").glob("[bS]*/python*"))  # bin, on Windows Scripts
    told = fresh.run(f"'{bare}' -m deploy reply", **NO_NETWORK)
    assert (told.returncode, told.stdout) == (1, "")
    assert "没有 pip" in told.stderr and "has no pip. On Debian and Ubuntu" in told.stderr


@pytest.mark.full
@pytest.mark.parametrize(
    ("version", "good"), [("19.2.3", False), full("20.2.4", False), full("20.0.2", True), ("26.1", True)]
)
def test_pip_that_is_too_old_is_told_before_anything_is_done(fresh: Clone, version: str, good: bool) -> None:
    """It would find no file for CPython 3.10, and say that hashes do not match."""
    fake = fresh.folder / "pip"
    fake.mkdir()
    (fake / "__init__.py").touch()
    (fake / "__main__.py").write_text(
        f"import sys\nprint('pip {version} from x')\nsys.exit('--version' not in sys.argv)\n"
    )
    told = fresh.run(f"'{sys.executable}' -m deploy reply", **NO_NETWORK)
    assert told.returncode == 1
    assert (f"pip {version} is too old, 20.3 or newer is needed" in told.stderr) != good
    assert ("could not be downloaded" in told.stderr) == good


@pytest.mark.full
def test_no_network_is_told_with_a_mirror(fresh: Clone) -> None:
    """And that it goes on meanwhile."""
    told = fresh.run(f"'{sys.executable}' -m deploy reply", **NO_NETWORK)
    assert told.returncode == 1
    assert "正在下载 Python 包" in told.stdout
    assert "pip config set global.index-url https://mirrors.aliyun.com/pypi/simple/" in told.stderr


@pytest.mark.full
def test_no_network_for_the_compiler_does_not_say_install_node(fresh: Clone, tmp_path: Path) -> None:
    """Node.js is there, only npm did not get through: that is another cure."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("node", "exit 1"), ("npm", "echo no network >&2; exit 1")):
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    (programs / "sh").symlink_to("/bin/sh")
    code = "import deploy.build as b; b.python_310 = lambda: None; b.build('conversation')"
    told = fresh.run(f"'{sys.executable}' -c \"{code}\"", PATH=str(programs))
    assert told.returncode == 0, told
    assert "npm config set registry https://registry.npmmirror.com" in told.stdout
    assert "Install CPython" not in told.stdout
    assert (fresh.packages / "conversation" / f"{CONVERSATION}.py").exists()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_folder_that_may_not_be_written_has_its_sentence(fresh: Clone) -> None:
    """In both languages, with the file."""
    fresh.folder.chmod(0o555)
    try:
        told = fresh.run(f"'{sys.executable}' -m deploy conversation")
    finally:
        fresh.folder.chmod(0o755)
    assert told.returncode == 1
    assert "没有权限写" in told.stderr and "may not be written" in told.stderr


@pytest.mark.full
@pytest.mark.skipif(os.name != "posix", reason="Windows has no such signal")
def test_ctrl_c_is_one_line_and_keeps_the_old_package(fresh: Clone, tmp_path: Path) -> None:
    """While a program works for us, which ends as well."""
    fake = fresh.folder / "pip"
    fake.mkdir()
    (fake / "__init__.py").touch()
    started = tmp_path / "started"
    script = "import os, sys, time\nif '--version' in sys.argv: sys.exit(print('pip 26.1 from x'))\n"
    script += f"open({str(started)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)\n"
    (fake / "__main__.py").write_text(script)
    (fresh.packages / "reply").mkdir(parents=True)
    (fresh.packages / "reply" / "old.py").touch()
    command = [sys.executable, "-m", "deploy", "reply"]
    with subprocess.Popen(
        command, cwd=fresh.folder, env=HOME, stderr=subprocess.PIPE, stdout=subprocess.PIPE
    ) as running:
        deadline = time.monotonic() + 50
        while not (started.exists() and started.read_text()) and time.monotonic() < deadline:
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=50)
    assert (running.returncode, said.decode().strip().count("\n")) == (130, 0)
    assert "Stopped: the packages and .env are as they were" in said.decode()
    assert [file.name for file in (fresh.packages / "reply").iterdir()] == ["old.py"]
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)


@pytest.mark.full
def test_build_that_was_stopped_at_its_end_finds_the_old_package_again(fresh: Clone) -> None:
    """Between the two steps the old one has another name."""
    (fresh.packages / "reply.old").mkdir(parents=True)
    (fresh.packages / "reply.old" / "old.py").touch()
    told = fresh.run(f"'{sys.executable}' -m deploy reply", **NO_NETWORK)
    assert told.returncode == 1
    assert [file.name for file in (fresh.packages / "reply").iterdir()] == ["old.py"]


@pytest.mark.full
@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        (".env.txt", "REGION=x\n", "there is .env.txt: rename it to .env"),
        full("env", "REGION=x\n", "there is env: rename it to .env"),
        (".env.example", "REGION=cn-hangzhou\n", ".env.example is filled in: copy it to .env"),
        (".env.example", "REGION=\n", "No .env: run python3 -m deploy init"),
    ],
)
def test_settings_in_a_file_of_another_name_are_found(fresh: Clone, file: str, text: str, words: str) -> None:
    """Windows hides the end of a name: .env.txt looks like .env there."""
    (fresh.folder / file).write_text(text)
    for command in ("check", "conversation --fc 3"):
        told = fresh.run(f"'{sys.executable}' -m deploy {command}", **NO_NETWORK)
        assert told.returncode == 1
        assert words in told.stdout + told.stderr


@pytest.mark.full
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "REGION is not set"),
        full("REGION=", "REGION is not set"),
        ("REGION=cn-hangzhou-b", "line 1: REGION: this is a zone"),
    ],
)
def test_step_before_deploying_refuses_a_region_that_is_none(fresh: Clone, line: str, words: str) -> None:
    """On 2.0 the role and its policies would be made before the tool finds out."""
    (fresh.folder / ".env").write_text(f"{line}\n")
    for generation in (2, 3):
        told = fresh.run(f"'{sys.executable}' -m deploy conversation --fc {generation}", **NO_NETWORK)
        assert (told.returncode, told.stdout) == (1, "")
        assert words in told.stderr
    assert not (fresh.packages / "conversation").exists()

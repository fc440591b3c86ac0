"""`s deploy` up to the point where it needs an account: the packages that it uploads, s.yaml, the check before it.

Everything is built in a copy of the repository by the commands that stand in s.yaml, and runs under the CPython that
Function Compute has, 3.10. Where there is none, those tests are skipped and say how to get one.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.build import FUNCTIONS, fingerprint
from deploy.check import FOLDERS
from tests.stand_ins.fork_server import INSTANCE
from tests.stand_ins.local_cloud import CONVERSATION, REPLY, ROOT, LocalCloud
from tests.stand_ins.runtimes import find_python

HOME = dict(os.environ)  # as it was before the tests emptied it
S_YAML = yaml.safe_load((ROOT / "s.yaml").read_text(encoding="utf-8"))
NO_NETWORK = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull}

pytestmark = pytest.mark.xdist_group("deploy")  # one process, which builds the packages once
each_package = pytest.mark.parametrize("name", FUNCTIONS)


@pytest.fixture(scope="module")
def python_310() -> str:
    """What Function Compute runs the functions with."""
    found = find_python("3.10")
    return found or pytest.skip("no CPython 3.10 on PATH or in ~/.pyenv/versions; `pyenv install 3.10` puts one there")


@pytest.fixture(scope="module")
def newer_python() -> str:
    """A Python with pip that is newer than that of Function Compute, as many who deploy have."""
    if sys.version_info >= (3, 11):
        return sys.executable
    found = next(filter(None, map(find_python, ("3.11", "3.12", "3.13", "3.14"))), None)
    return found or pytest.skip("no Python newer than 3.10 on PATH or in ~/.pyenv/versions")


class Clone:
    """A copy of what a deployment needs of the repository, in a folder with a blank in its name."""

    def __init__(self, parent: Path, *programs: str) -> None:
        self.folder = parent / "a clone"
        self.packages = self.folder / ".package"
        self.path = os.pathsep.join([*(str(Path(program).parent) for program in programs), HOME["PATH"]])

    def copy(self, files: Path | None = None) -> None:
        """Put it there, with the downloads of another one."""
        shutil.copytree(ROOT / "deploy", self.folder / "deploy", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / "bot", self.folder / "bot", ignore=shutil.ignore_patterns("__pycache__"))
        for file in ("s.yaml", "s.fc3.yaml", ".env.example", *FUNCTIONS.values()):
            shutil.copy(ROOT / file, self.folder)
        if files:
            shutil.copytree(files, self.packages / "files")

    def run(self, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """The finished command, run as `s` runs the actions in s.yaml: by the shell, at the top."""
        return subprocess.run(
            command,
            shell=True,
            cwd=self.folder,
            env={**HOME, "PATH": self.path, "PYTHONIOENCODING": "utf-8", **environment},
            capture_output=True,
            encoding="utf-8",
            timeout=300,
        )

    def build(self, name: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Make a package by the command in s.yaml, for a region that the environment tells."""
        (action,) = S_YAML["services"][name]["actions"]["pre-deploy"]
        return self.run(action["run"], **{"REGION": "us-west-1", **environment})


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, newer_python: str, python_310: str) -> Clone:
    """With both packages, built under another Python than that of Function Compute; made once, and only to be read."""
    folder = tmp_path_factory.mktemp("deploy")
    clone = Clone(folder, newer_python, python_310)
    clone.copy()
    for name in FUNCTIONS:
        built = clone.build(name)
        assert (built.returncode, "compiled by CPython 3.10" in built.stdout) == (0, True), built
        archive = shutil.make_archive(str(folder / name), "zip", clone.packages / name)
        shutil.unpack_archive(archive, folder / "code" / name)
    return clone


@pytest.fixture(scope="module")
def code(clone: Clone) -> Path:
    """Both packages as instances have them: zipped, and unpacked with other dates."""
    return clone.folder.parent / "code"


@pytest.mark.full
def test_reply_package_answers_under_cpython_310_without_site_packages(
    cloud: LocalCloud, code: Path, python_310: str
) -> None:
    """Nothing but the standard library and the unpacked zip is on its path, and it writes nothing there."""
    before = fingerprint(code / "reply")
    message = cloud.dingtalk.message("你好")
    context = {
        "request_id": "request-1",
        "timeout": 120,
        "access_key_id": "STS.example-id",
        "access_key_secret": "example-secret",
        "security_token": "example-token",
    }
    jobs: list[dict[str, Any]] = [
        {"path": str(code / "reply" / f"{REPLY}.py"), "handler": "handler", "log_level": "INFO", "request_id": "-"},
        {"context": context, "event": base64.b64encode(json.dumps(message).encode()).decode()},
    ]
    command = [python_310, "-S", "-E", "-X", "utf8", str(INSTANCE)]
    with subprocess.Popen(
        command, env=cloud.environment(REPLY), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as instance:
        assert instance.stdin
        assert instance.stdout
        for job in jobs:
            instance.stdin.write(json.dumps(job) + "\n")
            instance.stdin.flush()
            outcome = json.loads(instance.stdout.readline())
            assert "error" not in outcome, outcome
        instance.stdin.close()  # which ends it
    (shown,) = cloud.dingtalk.shown(message)
    assert shown.text == "你好！有什么可以帮你？"
    assert fingerprint(code / "reply") == before


@pytest.mark.full
def test_reply_package_trusts_the_certificates_that_it_brings(code: Path, python_310: str) -> None:
    """Whatever the image has: requests, which oss2 uses too, and the context that openai gets, have certifi's."""
    script = f"""
import os, ssl, sys
sys.path.append({str(code / "reply")!r})
import {REPLY} as function
bundles = []
create = ssl.create_default_context
ssl.create_default_context = lambda **options: bundles.append(options["cafile"]) or create(**options)
sys.modules['bot.chatgpt.service'].openai_client("sk-example", "https://example.com")
print(os.path.relpath(sys.modules['requests'].utils.DEFAULT_CA_BUNDLE_PATH, {str(code / "reply")!r}))
print(os.path.relpath(bundles[0], {str(code / "reply")!r}))
"""
    ran = subprocess.run([python_310, "-S", "-E", "-c", script], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout.split()) == (0, 2 * ["certifi/cacert.pem"]), ran.stderr


@pytest.mark.full
def test_conversation_package_answers_on_what_the_runtime_has(code: Path, python_310: str, tmp_path: Path) -> None:
    """aliyun-fc2 2.5.2 and requests 2.28.1, and what they need: a signed message goes all the way to the chat."""
    python = tmp_path / "runtime" / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    for command in (
        [python_310, "-m", "venv", "--without-pip", str(tmp_path / "runtime")],
        [*install, "aliyun-fc2==2.5.2", "requests==2.28.1"],
    ):
        subprocess.run(command, env=HOME, check=True, timeout=300)
    with LocalCloud() as cloud:
        function = cloud.function(CONVERSATION)
        deployed = replace(function, path=code / "conversation" / f"{CONVERSATION}.py", python=str(python))
        cloud.function_compute.deploy(CONVERSATION, deployed)
        assert cloud.dingtalk.ask("你好") == "你好！有什么可以帮你？"


@pytest.mark.full
@each_package
def test_every_source_has_bytecode_that_cpython_310_accepts(name: str, code: Path, python_310: str) -> None:
    """Its magic number, the flag that says not to look at the source, this source's hash, the path for logs."""
    script = f"""
import importlib.util, marshal, pathlib
folder = pathlib.Path({str(code / name)!r})
for source in folder.rglob("*.py"):
    data = pathlib.Path(importlib.util.cache_from_source(str(source))).read_bytes()
    header = importlib.util.MAGIC_NUMBER + b"\\1\\0\\0\\0" + importlib.util.source_hash(source.read_bytes())
    assert data[:16] == header, source
    assert marshal.loads(data[16:]).co_filename == "/code/" + source.relative_to(folder).as_posix(), source
print(len(list(folder.rglob("*.py"))) == len(list(folder.rglob("*.pyc"))))
"""
    ran = subprocess.run([python_310, "-S", "-E", "-c", script], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout) == (0, "True\n"), ran.stderr


def needed_versions(elf: bytes) -> Iterator[str]:
    """The symbol versions that a shared library for x86_64 needs of others, GLIBC_2.17 for one."""
    assert elf[:6] == b"\x7fELF\x02\x01"  # 64 bits, little endian
    assert struct.unpack_from("<H", elf, 18) == (62,)  # x86_64
    (table,), (size, count) = struct.unpack_from("<Q", elf, 40), struct.unpack_from("<HH", elf, 58)
    sections = [struct.unpack_from("<IIQQQQII", elf, table + number * size) for number in range(count)]
    for _, kind, _, _, offset, _, link, files in sections:
        if kind != 0x6FFFFFFE:  # .gnu.version_r
            continue
        names = sections[link][4]
        for _ in range(files):
            _, versions, _, first, following = struct.unpack_from("<HHIII", elf, offset)
            entry = offset + first
            for _ in range(versions):
                _, _, _, name, step = struct.unpack_from("<IHHII", elf, entry)
                yield elf[names + name : elf.index(b"\0", names + name)].decode()
                entry += step
            offset += following


@pytest.mark.full
def test_no_shared_library_is_too_new_for_the_image(clone: Clone) -> None:
    """All are for CPython 3.10 or any, on x86_64, and for glibc 2.28; none needs the C++ library."""
    libraries = [
        path for path in (clone.packages / "reply").rglob("*") if re.search(r"\.(so|pyd|dylib|dll)\b", path.name)
    ]
    assert len(libraries) > 10
    for library in libraries:
        assert library.name.endswith((".cpython-310-x86_64-linux-gnu.so", ".abi3.so")), library
        for version in needed_versions(library.read_bytes()):
            kind, _, number = version.partition("_")
            assert kind in ("GLIBC", "GCC"), (library, version)
            assert kind == "GCC" or tuple(map(int, number.split("."))) <= (2, 28), (library, version)


@pytest.mark.full
def test_reply_package_has_the_packages_of_the_requirements_with_their_licences(clone: Clone) -> None:
    """As pinned, aliyun-fc2 excepted, which Reply does not import; and each project's licence goes along."""
    pins = dict(re.findall(r"^([\w-]+)==(\S+)", (ROOT / "deploy/reply.txt").read_text(encoding="utf-8"), re.M))
    required = dict(re.findall(r"^([\w-]+)==(\S+)", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.M))
    del required["aliyun-fc2"]
    assert {name: pins.get(name) for name in required} == required
    assert "aliyun-fc2" not in pins
    for name, version in pins.items():
        (about,) = (clone.packages / "reply").glob(f"{name.replace('-', '_')}-{version}.dist-info")
        assert (about / "METADATA").exists()
        assert list(about.rglob("LICENSE*")), about


@pytest.mark.full
def test_second_build_is_the_same_without_network_under_the_oldest_python(
    clone: Clone, tmp_path: Path, python_310: str
) -> None:
    """Python 3.8 or the oldest here: what is left over goes, and all else is the same byte for byte."""
    oldest = next(filter(None, map(find_python, ("3.8", "3.9"))), python_310)
    again = Clone(tmp_path, python_310)
    again.copy(files=clone.packages / "files")
    (again.packages / "reply").mkdir()
    (again.packages / "reply" / "leftover.py").touch()
    built = again.run(f"'{oldest}' -m deploy", **NO_NETWORK)
    assert built.returncode == 0, built
    for name in FUNCTIONS:
        assert fingerprint(again.packages / name) == fingerprint(clone.packages / name)
    there = {path.name for path in again.packages.iterdir()}
    assert there == {"files", "conversation", "conversation.sha256", "reply", "reply.sha256"}


@pytest.mark.full
def test_failed_download_stops_the_deployment_and_keeps_the_old_package(
    clone: Clone, tmp_path: Path, newer_python: str
) -> None:
    """The command in s.yaml fails, a sentence says what to look at, and nothing half-made can be uploaded."""
    incomplete = Clone(tmp_path, newer_python)
    incomplete.copy(files=clone.packages / "files")
    (wheel,) = incomplete.packages.glob("files/six-*.whl")
    wheel.unlink()
    (incomplete.packages / "reply").mkdir()
    (incomplete.packages / "reply" / "old.py").touch()
    built = incomplete.build("reply", **NO_NETWORK)
    assert built.returncode != 0
    assert "多半是连不上 PyPI" in built.stderr
    assert "Mostly PyPI is not reached" in built.stderr
    assert [path.name for path in (incomplete.packages / "reply").iterdir()] == ["old.py"]


@pytest.fixture
def few_programs(tmp_path: Path) -> Path:
    """A folder for PATH, without any Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in ("sh", "env"):
        (folder / program).symlink_to(str(shutil.which(program, path=HOME["PATH"])))
    return folder


def test_package_without_a_compiler_is_built_without_bytecode(
    tmp_path: Path, newer_python: str, few_programs: Path
) -> None:
    """It can be deployed; a sentence says what that costs and what to install."""
    clone = Clone(tmp_path)
    clone.copy()
    built = clone.run(f"'{newer_python}' -m deploy conversation", PATH=str(few_programs))
    assert built.returncode == 0, built
    assert "twice the CPU." in built.stdout and "Install CPython 3.10, or Node.js 18" in built.stdout
    package = clone.packages / "conversation"
    assert {path.suffix for path in package.rglob("*") if path.is_file()} == {".py"}
    assert (package / f"{CONVERSATION}.py").exists() and (package / "bot/settings.py").exists()


@pytest.fixture
def fresh(tmp_path: Path) -> Clone:
    """As somebody has it who just downloaded the project: nothing is built."""
    clone = Clone(tmp_path)
    clone.copy()
    return clone


def test_check_of_fresh_copy_says_one_thing_per_cause_and_downloads_nothing(fresh: Clone) -> None:
    """No .env is one cause, not one per setting; PyYAML, which may be missing, is not downloaded for that."""
    found = fresh.run(f"'{sys.executable}' -S -m deploy check", **NO_NETWORK)
    lines = [line for line in found.stdout.splitlines() if line.startswith("- ")]
    assert found.returncode == 1, found
    for line, words in zip(
        lines,
        (
            "No .env: run python3 -m deploy init, or copy",
            ".package/conversation is not built",
            ".package/reply is not built",
            "s.yaml was not checked",
        ),
        strict=True,
    ):
        assert words in line
    assert not fresh.packages.exists()


def test_check_of_fresh_copy_names_what_is_wrong_with_dotenv_first(fresh: Clone) -> None:
    """The value that the tool would cut on 3.0; on 2.0 the same file is fine. A bad setting of both functions once."""
    (fresh.folder / ".env").write_text(
        r"CHATGPT_API_KEY=sk-\\$HOMEx-123"
        + "\nREGION=us-west-1\nOSS_BUCKET_NAME=a-bucket\nDINGTALK_APP_SECRET=a1\nVERBOSE=loud\n"
    )
    found = {
        fc: fresh.run(f"'{sys.executable}' -S -m deploy check --fc {fc}", **NO_NETWORK).stdout.splitlines()
        for fc in (2, 3)
    }
    assert "CHATGPT_API_KEY has a $ and would arrive changed" in found[3][0]
    assert not [line for line in found[2] if "CHATGPT_API_KEY" in line]
    for lines in found.values():
        assert len([line for line in lines if "VERBOSE" in line]) == 1


@pytest.mark.parametrize(
    ("bucket", "shown"), [("a-bucket", "a-bucket"), ("", "your-bucket"), ("my key!", "your-bucket")]
)
def test_check_for_3_prints_policy_with_the_name_of_the_bucket(fresh: Clone, bucket: str, shown: str) -> None:
    """To be pasted into the console; what cannot be a name may be a key in the wrong place."""
    (fresh.folder / ".env").write_text(f"OSS_BUCKET_NAME={bucket}\n")
    found = fresh.run(f"'{sys.executable}' -m deploy check --fc 3", **NO_NETWORK)
    policy = json.loads(found.stdout[found.stdout.index("\n{") :])
    _, objects, _ = policy["Statement"]
    assert objects["Resource"] == [f"acs:oss:*:*:{shown}/{folder}/*" for folder in FOLDERS]


@pytest.mark.parametrize("command", ["conversation", "check", "check --fc 3"])
def test_missing_function_file_has_its_sentence_in_every_command(fresh: Clone, command: str) -> None:
    """No trace, and nothing in another language only."""
    (fresh.folder / f"{CONVERSATION}.py").unlink()
    found = fresh.run(f"'{sys.executable}' -m deploy {command}", **NO_NETWORK)
    assert found.returncode == 1
    assert found.stderr == (f"找不到 {CONVERSATION}.py，请从仓库里恢复。\n{CONVERSATION}.py is missing; restore it.\n")


@pytest.mark.parametrize(
    ("dotenv", "words"),
    [
        (None, "DINGTALK_APP_SECRET is not set (没有 .env / no .env)"),
        ("DINGTALK_APP_SECRET=\n", "DINGTALK_APP_SECRET is not set (.env)"),
        ("DINGTALK_APP_SECRET=a$b\n", "DINGTALK_APP_SECRET has a $ and would arrive changed"),
    ],
)
@pytest.mark.full
def test_step_before_deploying_says_what_is_wrong_with_dotenv(fresh: Clone, dotenv: str | None, words: str) -> None:
    """The tool itself deploys then, and reports success. It is no failure: the settings may be in the console."""
    if dotenv is not None:
        (fresh.folder / ".env").write_text(dotenv)
    built = fresh.build("conversation", **NO_NETWORK)
    assert built.returncode == 0, built
    (note,) = [line for line in built.stdout.splitlines() if "注意 / note" in line]
    assert words in note


@pytest.mark.full
def test_step_before_deploying_is_silent_when_dotenv_is_right(fresh: Clone) -> None:
    """One line says that the package is built. The tool has already put what it made of .env into the environment."""
    (fresh.folder / ".env").write_text(r"DINGTALK_APP_SECRET=a1\\$b" + "\n")
    built = fresh.build("conversation", DINGTALK_APP_SECRET="a1$b", **NO_NETWORK)  # as the tool calls it
    assert built.returncode == 0, built
    assert "note" not in built.stdout


@pytest.mark.full
def test_zip_file_has_the_same_bytes_whenever_and_by_whatever_python_it_is_made(fresh: Clone) -> None:
    """The function stands at its top, where Function Compute looks for it; dates and rights are always the same."""
    archive = fresh.folder / "conversation.zip"
    made = set()
    for python in (sys.executable, *filter(None, map(find_python, ("3.8", "3.13")))):
        built = fresh.run(f"'{python}' -m deploy conversation --zip", **NO_NETWORK)
        assert built.returncode == 0, built
        assert re.search(r"conversation\.zip: 0\.\d MB, SHA-256 [0-9a-f]{64}", built.stdout)
        made.add(archive.read_bytes())
        os.utime(fresh.folder / f"{CONVERSATION}.py", (0, 1e9))
    assert len(made) == 1
    with zipfile.ZipFile(archive) as packed:
        assert f"{CONVERSATION}.py" in packed.namelist()
        assert {(entry.date_time, entry.external_attr >> 16) for entry in packed.infolist()} == {
            ((1980, 1, 1, 0, 0, 0), 0o100644)
        }


def test_help_says_what_each_word_does(fresh: Clone) -> None:
    """In both languages."""
    shown = fresh.run(f"'{sys.executable}' -m deploy --help").stdout
    for words in (
        "conversation  构建",
        "reply         构建",
        "check         检查",
        "--zip",
        "--fc",
        "builds both packages",
    ):
        assert words in shown


@pytest.mark.full
def test_node_compiles_where_no_cpython_310_is(
    tmp_path: Path, newer_python: str, few_programs: Path, python_310: str
) -> None:
    """The real CPython 3.10 runs what the one in WebAssembly compiled: here the source says something else."""
    for program in ("node", "npm"):
        found = shutil.which(program, path=HOME["PATH"])
        if not found:
            pytest.skip("no Node.js on PATH")
        (few_programs / program).symlink_to(found)
    clone = Clone(tmp_path)
    clone.copy()
    file = clone.folder / f"{CONVERSATION}.py"
    file.write_text("if __name__ in {'a', 'b', 'c', 'd', 'e', 'f', 'g'}:\n    pass\nprint('compiled')\n")
    made = set()
    for _ in range(2):  # a set has the same order each time
        built = clone.run(f"'{newer_python}' -m deploy conversation --zip", PATH=str(few_programs))
        assert "with bytecode (compiled by Node.js)" in built.stdout, built
        made.add((clone.folder / "conversation.zip").read_bytes())
    assert len(made) == 1
    package = clone.packages / "conversation"
    (package / file.name).write_text("print('source')\n")
    ran = subprocess.run(
        [python_310, "-S", "-E", "-c", f"import {CONVERSATION}"], cwd=package, capture_output=True, text=True
    )
    assert ran.stdout == "compiled\n", ran.stderr


@pytest.mark.full
def test_check_finds_nothing_wrong_with_what_was_built(clone: Clone, newer_python: str) -> None:
    """With the three required settings in .env, and without PyYAML installed."""
    example = (clone.folder / ".env.example").read_text(encoding="utf-8")
    (clone.folder / ".env").write_text(
        re.sub("(?m)^([A-Z_]+)=$", r"\1=an-example", example).replace("REGION=an-example", "REGION=us-west-1"),
        encoding="utf-8",
    )
    found = clone.run(f"'{newer_python}' -S -m deploy check")
    assert (found.returncode, "问题 / problems: 0" in found.stdout.splitlines()) == (0, True), found
    assert "deploys to: us-west-1" in found.stdout


@pytest.mark.full
def test_check_names_everything_that_is_wrong(clone: Clone, tmp_path: Path, newer_python: str) -> None:
    """Settings, s.yaml and packages in one go, and no value."""
    spoiled = Clone(tmp_path)
    spoiled.copy(files=clone.packages / "files")
    (spoiled.folder / ".env").write_text("REGION=us-west-1\nCHATGPT_API_KEY=my secret\nOSS_BUCKET=my-secret\n")
    text = (ROOT / "s.yaml").read_text(encoding="utf-8")
    (spoiled.folder / "s.yaml").write_text(text.replace("timeout: 120", "timeout: 60"), encoding="utf-8")
    (spoiled.packages / "conversation").mkdir()
    found = spoiled.run(f"'{newer_python}' -m deploy check")
    assert found.returncode == 1, found
    for words in (
        "s.yaml does not use OSS_BUCKET; is it OSS_BUCKET_NAME?",
        "line 2: CHATGPT_API_KEY is malformed",
        "DINGTALK_APP_SECRET is not set",
        "services.reply.props.function.timeout must be at least 85",
        f".package/conversation is out of date, {CONVERSATION}.py for one",
        ".package/reply is not built yet",
        "problems: 6",
    ):
        assert words in found.stdout
    assert "secret" not in found.stdout

"""Builds what `s deploy` uploads, .package/conversation and .package/reply, with any Python >= 3.8 that has pip.

Both hold the function's file and the folder bot/. Conversation needs no more: the runtime has what it imports. Reply
also has the packages that it imports, for CPython 3.10 on Linux x86_64 with glibc 2.28, whatever builds them. Both have
bytecode.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PACKAGES = ROOT / ".package"
FILES = PACKAGES / "files"  # what was downloaded: a second build needs no network
FUNCTIONS = {"conversation": "Dingtalk_Conversation.py", "reply": "Dingtalk_ChatGPT_Reply.py"}
ROOMS = sorted(file.relative_to(ROOT).as_posix() for file in (ROOT / "bot").rglob("*.py"))  # both functions need all

# These have no wheels. Their sources are only unpacked: setup.py would compile a part of crcmod for this machine.
SOURCES = {"crcmod": "python3/crcmod", "oss2": "oss2"}

PYODIDE = "pyodide-0.21.3"  # of npm: CPython 3.10.2 in WebAssembly, 7 MB; it needs no other package, and no network
PYODIDE_INTEGRITY = "sha512-5fu5P8ys8V8tKTsK9lag0HattbZQuFRdnNzv1LLOLCieM9A96OPs2cF29lPpcD9N+8GuUtfrGCWEMKiupTHUlA=="

DOWNLOAD_SECONDS = 600
COMPILE_SECONDS = 300
TELL_SECONDS = 10  # between two signs of life
# Tried, 2026-11: 20.0 and from 20.3 on. Older ones do not read `3.10`; 20.1 and 20.2 look for the tag cp3_10.
MIN_PIP, ALSO_GOOD_PIP = (20, 3), (20, 0)

NO_PIP = """\
这个 Python（{python}）没有 pip。Debian 和 Ubuntu 用 sudo apt install python3-pip 安装；其他系统运行
{python} -m ensurepip ，或者安装官网的 Python。
This Python ({python}) has no pip. On Debian and Ubuntu: sudo apt install python3-pip ; elsewhere run
{python} -m ensurepip , or install Python from its own page."""
OLD_PIP = """\
pip {version} 太旧，至少要 {needed} 。请运行 {python} -m pip install --upgrade pip
pip {version} is too old, {needed} or newer is needed. Run {python} -m pip install --upgrade pip"""
NO_PACKAGES = """\
Python 包没有下载成功，原因见上面 pip 的输出：多半是连不上 PyPI。在中国内地可以先换镜像，再运行一次：
The packages could not be downloaded; pip says above why. Mostly PyPI is not reached: check the network, and run this
again. In mainland China use a mirror:

  {python} -m pip config set global.index-url https://mirrors.aliyun.com/pypi/simple/"""
NO_PYODIDE = """\
Node.js 有，但 npm 没有下载到编译器（7 MB）：多半是连不上 npm。在中国内地可以先换镜像，再构建一次：
Node.js is there, but npm could not download the compiler (7 MB). Mostly npm's registry is not reached: check the
network, and build again. In mainland China use a mirror:

  npm config set registry https://registry.npmmirror.com"""
WITH_BYTECODE = "已构建，带字节码（由 {how} 编译），启动快 / built, with bytecode (compiled by {how}) for a quick start"
SLOW = """\
没有字节码：可以部署，但每次冷启动要多用一倍的 CPU。
No bytecode: this can be deployed, but a cold start takes twice the CPU."""
NO_BYTECODE = f"""\
{SLOW}
安装 CPython 3.10，或者 Node.js 18 及以上版本，再构建一次即可。
Install CPython 3.10, or Node.js 18 or newer, and build again."""
NOT_COMPILED = """\
Node.js 没能编译，原因见上面。
Node.js could not compile; it says above why."""
DOWNLOADING = "正在下载 Python 包，约 {megabytes} MB / Downloading Python packages, about {megabytes} MB ..."
DOWNLOADING_COMPILER = "正在用 npm 下载编译器，7 MB / Downloading the compiler with npm, 7 MB ..."
COMPILING = "正在编译字节码 / Compiling bytecode ..."

NO_FILE = """\
找不到 {file}，请从仓库里恢复。
{file} is missing; restore it."""
NOT_UTF_8 = """\
{file} 不是 UTF-8，请另存为 UTF-8。
{file} is not UTF-8; save it as UTF-8."""


class Problem(Exception):
    """What went wrong and what to change, in Chinese and English, for the person who deploys."""


def build(name: str) -> None:
    """Make .package/<name> anew; until the new one is complete, the old one stays as it is."""
    folder, new, old = (PACKAGES / f"{name}{suffix}" for suffix in ("", ".new", ".old"))
    if old.exists() and not folder.exists():  # the last build was stopped between the two steps at the end
        old.rename(folder)
    for leftover in (new, old):
        if leftover.exists():
            shutil.rmtree(leftover)
    for path, data in contents(name).items():
        file = new / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    bytecode = compile_all(new)
    for file in (new, *new.rglob("*")):
        file.chmod(0o755 if file.is_dir() else 0o644)  # goes into the zip, and who runs it there has to read it
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    folder.with_suffix(".sha256").write_text(fingerprint(folder))
    if old.exists():
        shutil.rmtree(old)
    print(f"{folder.relative_to(ROOT).as_posix()}: {bytecode}", flush=True)


def pack(name: str) -> None:
    """Make <name>.zip of .package/<name>, for the console: the same bytes for the same files and compiler, at any time.

    Another build of CPython 3.10 writes some bytes of the bytecode otherwise: marshal marks an object that it may refer
    to again by its reference count, which depends on what that interpreter holds.
    """
    folder, archive = PACKAGES / name, ROOT / f"{name}.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for file in sorted(folder.rglob("*"), key=lambda file: file.relative_to(folder).as_posix()):
            if file.is_file():
                entry = zipfile.ZipInfo(file.relative_to(folder).as_posix())  # dated 1980
                entry.create_system = 3  # Unix, wherever it is made: only then the permissions count
                entry.external_attr = 0o100644 << 16
                entry.compress_type = zipfile.ZIP_DEFLATED
                packed.writestr(entry, file.read_bytes(), compresslevel=9)
    data = archive.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    print(f"{archive.name}: {len(data) / 1e6:.1f} MB, SHA-256 {digest}", flush=True)


def fingerprint(folder: Path) -> str:
    """A digest of everything in a folder: the check sees by it whether a package is still as it was built."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            digest.update(file.relative_to(folder).as_posix().encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def contents(name: str) -> dict[str, bytes]:
    """Everything in a package but the bytecode: path -> data."""
    files = {path: source_of(ROOT / path).encode("utf-8") for path in (FUNCTIONS[name], *ROOMS)}
    if name == "reply":
        for archive in archives(HERE / "reply.txt"):
            files.update(unpacked(archive))
    return files


def source_of(file: Path) -> str:
    """The text of a file of ours, with its own ends of lines; a Problem if it is missing or not UTF-8."""
    try:
        return file.read_bytes().decode("utf-8")
    except FileNotFoundError as error:
        raise Problem(NO_FILE.format(file=file.name)) from error
    except UnicodeDecodeError as error:
        raise Problem(NOT_UTF_8.format(file=file.name)) from error


def archives(requirements: Path) -> list[Path]:
    """The archives whose hashes the file names, downloaded by pip if they are not there yet."""
    FILES.mkdir(parents=True, exist_ok=True)
    if not has_downloaded(requirements):
        need_pip()
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
        # One platform, because pip before 20.3 takes no more; every wheel in reply.txt has this name among others.
        target = ["--platform", "manylinux2014_x86_64", "--python-version", "3.10", "--implementation", "cp"]
        # Without --no-deps, --platform would refuse what has no wheels.
        what = ["--no-deps", "--require-hashes", "--requirement", str(requirements), "--dest", str(FILES)]
        try:
            megabytes = 20 if requirements.name == "reply.txt" else 1
            run([*pip, *target, *what], DOWNLOAD_SECONDS, DOWNLOADING.format(megabytes=megabytes))
        except (OSError, subprocess.SubprocessError) as error:
            raise Problem(NO_PACKAGES.format(python=sys.executable)) from error
    files = downloaded()
    return [files[digest] for digest in hashes_in(requirements)]


def downloaded() -> dict[str, Path]:
    """The files in FILES by their SHA-256."""
    return {hashlib.sha256(file.read_bytes()).hexdigest(): file for file in FILES.glob("*")}


def has_downloaded(requirements: Path) -> bool:
    """Whether all that the file names is there already."""
    return downloaded().keys() >= set(hashes_in(requirements))


def hashes_in(requirements: Path) -> list[str]:
    """The SHA-256 of each archive that the file names."""
    return re.findall("--hash=sha256:([0-9a-f]{64})", requirements.read_text(encoding="utf-8"))


def need_pip() -> None:
    """A Problem if this Python has no pip, or one that does not know what is asked of it."""
    tell = [sys.executable, "-m", "pip", "--version"]  # "pip 20.0.2 from ..."
    told = subprocess.run(tell, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    version = re.match(r"pip (\d+)\.(\d+)\S*", told.stdout.decode(errors="replace"))
    if not version:
        raise Problem(NO_PIP.format(python=sys.executable))
    numbers = (int(version[1]), int(version[2]))
    if numbers < MIN_PIP and numbers != ALSO_GOOD_PIP:
        needed = ".".join(map(str, MIN_PIP))
        raise Problem(OLD_PIP.format(version=version[0][4:], needed=needed, python=sys.executable))


def run(command: list[str], seconds: float, doing: str, **options: Any) -> None:
    """Run a program to its end and say that it goes on; OSError or SubprocessError if it fails or takes too long."""
    print(doing, flush=True)
    started = time.monotonic()
    # A group of its own: Ctrl-C ends us, and we end the program with all that it started.
    own_group: dict[str, Any] = {"start_new_session": True} if os.name == "posix" else {"creationflags": 0x200}
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, **own_group, **options) as process:
        try:
            while True:
                try:
                    status = process.wait(TELL_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    passed = time.monotonic() - started
                    print(f"  ... {passed:.0f} s", flush=True)
                    if passed > seconds:
                        raise
        except BaseException:
            end(process)
            raise
    if status:
        raise subprocess.CalledProcessError(status, command)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a program that `run` started, and what it started itself."""
    if os.name == "posix":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """The files in a wheel or a tar archive: path, data."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            for entry in wheel.infolist():
                if not entry.is_dir():
                    yield entry.filename, wheel.read(entry)
    else:
        with tarfile.open(archive) as tar:
            for member in tar:
                file = tar.extractfile(member)
                if file:
                    yield member.name, file.read()


def unpacked(archive: Path) -> dict[str, bytes]:
    """What an archive brings into the package, its licence included: path -> data."""
    if archive.suffix == ".whl":
        return {path: data for path, data in members(archive) if not useless(path)}
    project = archive.name[: -len(".tar.gz")]
    source = SOURCES[project.partition("-")[0]]
    files = {}
    for path, data in members(archive):
        inside = path.partition("/")[2]
        if inside.startswith(f"{source}/"):
            files[Path(source).name + inside[len(source) :]] = data
        elif inside in ("LICENSE", "PKG-INFO"):
            files[f"{project}.dist-info/{inside.replace('PKG-INFO', 'METADATA')}"] = data
    return files


def useless(path: str) -> bool:
    """Whether a file of a wheel can stay away: tests, type stubs, programs."""
    folders = path.split("/")[:-1]
    return path.endswith(".pyi") or "tests" in folders or "SelfTest" in folders or ".data/" in path


def compile_all(folder: Path) -> str:
    """Put bytecode of CPython 3.10 beside every .py; says who compiled it, or that nobody here can."""
    script = HERE / "compile_310.py"
    python = python_310()
    if python:
        # PYTHON* could switch other bytecode on; the order of sets, which is part of it, is to be the same each time.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environment["PYTHONHASHSEED"] = "0"
        run([*python, "-s", str(script), str(folder)], COMPILE_SECONDS, COMPILING, env=environment)
        return WITH_BYTECODE.format(how="CPython 3.10")
    node = shutil.which("node")
    return compile_with_node(node, script, folder) if node else NO_BYTECODE


def python_310() -> list[str] | None:
    """The command of a CPython 3.10, None if there is none."""
    for command in ([sys.executable], ["python3.10"], ["py", "-3.10"]):
        tell = [*command, "-c", "import sys; print(sys.implementation.cache_tag)"]
        try:
            answer = subprocess.run(tell, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60).stdout
        except (OSError, subprocess.SubprocessError):
            continue
        if answer.strip() == b"cpython-310":
            return command
    return None


def compile_with_node(node: str, script: Path, folder: Path) -> str:
    """Run the script in PYODIDE, which npm fetches if it is not there whole; says whether that succeeded."""
    archive = FILES / f"{PYODIDE}.tgz"
    try:
        if not is_pyodide(archive):
            FILES.mkdir(parents=True, exist_ok=True)
            npm = shutil.which("npm") or "npm"  # on Windows npm.cmd, which only its full name starts
            limits = ["--fetch-timeout=60000", "--fetch-retries=1"]  # it would wait for 5 min after the network is gone
            fetch = [npm, "pack", "--loglevel=error", "--no-update-notifier", *limits, PYODIDE.replace("-", "@")]
            run(fetch, DOWNLOAD_SECONDS, DOWNLOADING_COMPILER, cwd=FILES, stdout=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        pass  # then it is still not there
    if not is_pyodide(archive):
        return f"{SLOW}\n{NO_PYODIDE}"
    with tempfile.TemporaryDirectory() as home:
        for path, data in members(archive):
            Path(home, Path(path).name).write_bytes(data)  # it has no folders
        compile_in_it = [node, str(HERE / "compile_310.js"), home, str(script), str(folder)]
        try:
            run(compile_in_it, COMPILE_SECONDS, COMPILING)
        except (OSError, subprocess.SubprocessError):
            return f"{SLOW}\n{NOT_COMPILED}"
    return WITH_BYTECODE.format(how="Node.js")


def is_pyodide(archive: Path) -> bool:
    """Whether the archive is there, whole and as it was published."""
    if not archive.exists():
        return False
    digest = hashlib.sha512(archive.read_bytes()).digest()
    return f"sha512-{base64.b64encode(digest).decode()}" == PYODIDE_INTEGRITY

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
import subprocess
import sys
import tarfile
import tempfile
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

NO_PACKAGES = """\
Python 包下载失败，原因见上面 pip 的输出。请检查这个 Python 有没有 pip（{python} -m pip --version），
以及能不能连上 PyPI 或镜像站。
The packages could not be downloaded; pip says above why. Check that this Python has pip ({python} -m pip --version)
and that it reaches PyPI or a mirror."""
WITH_BYTECODE = "已构建，带字节码（由 {how} 编译），启动快 / built, with bytecode (compiled by {how}) for a quick start"
NO_BYTECODE = """\
没有字节码：可以部署，但每次冷启动要多用一倍的 CPU。安装 CPython 3.10，或者 Node.js 18 及以上版本，再构建一次即可。
No bytecode: this can be deployed, but a cold start takes twice the CPU. Install CPython 3.10, or Node.js 18 or newer,
and build again."""
WRONG_FILE = """\
{file} 的内容不对。请删除它，再构建一次。
{file} has the wrong content. Delete it and build again."""

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
    """Make <name>.zip of .package/<name>, for the console: the same bytes for the same files, whenever it is made."""
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
        print("正在下载 Python 包 / Downloading Python packages ...", flush=True)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
        # One platform, because pip before 20.3 takes no more; every wheel in reply.txt has this name among others.
        target = ["--platform", "manylinux2014_x86_64", "--python-version", "3.10", "--implementation", "cp"]
        # Without --no-deps, --platform would refuse what has no wheels.
        what = ["--no-deps", "--require-hashes", "--requirement", str(requirements), "--dest", str(FILES)]
        try:
            run([*pip, *target, *what], DOWNLOAD_SECONDS)
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


def run(command: list[str], seconds: float, **options: Any) -> None:
    """Run a program to its end; OSError or SubprocessError if it cannot start, fails or takes too long."""
    subprocess.run(command, check=True, timeout=seconds, stdin=subprocess.DEVNULL, **options)


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
        run([*python, "-s", str(script), str(folder)], COMPILE_SECONDS, env=environment)
        return WITH_BYTECODE.format(how="CPython 3.10")
    node = shutil.which("node")
    if node:
        try:
            compile_with_node(node, script, folder)
            return WITH_BYTECODE.format(how="Node.js")
        except (OSError, subprocess.SubprocessError) as error:
            print(error, file=sys.stderr)
    return NO_BYTECODE


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


def compile_with_node(node: str, script: Path, folder: Path) -> None:
    """Run the script in PYODIDE, which npm fetches if it is not there yet."""
    archive = FILES / f"{PYODIDE}.tgz"
    if not archive.exists():
        FILES.mkdir(parents=True, exist_ok=True)
        npm = shutil.which("npm") or "npm"  # on Windows npm.cmd, which only its full name starts
        fetch = [npm, "pack", "--loglevel=error", PYODIDE.replace("-", "@")]
        run(fetch, DOWNLOAD_SECONDS, cwd=FILES, stdout=subprocess.DEVNULL)
    digest = hashlib.sha512(archive.read_bytes()).digest()
    if f"sha512-{base64.b64encode(digest).decode()}" != PYODIDE_INTEGRITY:
        raise Problem(WRONG_FILE.format(file=archive))
    with tempfile.TemporaryDirectory() as home:
        for path, data in members(archive):
            Path(home, Path(path).name).write_bytes(data)  # it has no folders
        run([node, str(HERE / "compile_310.js"), home, str(script), str(folder)], COMPILE_SECONDS)

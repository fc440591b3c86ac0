"""What `python3 -m tests` and its like do first: find the packages, or install them in .venv and start again there.

Standard library only, and a syntax that Python 3.6 still reads: a Python that is too old has to be able to say so.
"""

import importlib
import importlib.util
import ntpath
import os
import posixpath
import re
import subprocess
import sys

OLDEST = (3, 10)
WINDOWS = os.name == "nt"
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
PIN = re.compile(r"([\w.-]+)==([\w.]+)")


def provide(requirements: str, module: str) -> None:
    """Return where the packages of this file are installed; elsewhere start the module there, and do not return.

    What is in the way ends the program with a sentence in Chinese and English.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a console without Chinese still shows the English sentences
    if sys.version_info < OLDEST:
        sys.exit(too_old())
    try:
        if os.path.realpath(sys.prefix) == os.path.realpath(VENV):
            if lacking(requirements, exactly=True):
                install(requirements)
        elif lacking(requirements, exactly=False):  # in an environment of their own, people may try other versions
            if not works(python_in(VENV, WINDOWS)):
                make_venv()
            start_again(module)
    except KeyboardInterrupt:
        sys.exit("\n已中断，再运行一次会继续。\nInterrupted: run it again to go on.")


def too_old() -> str:
    """What a Python says that cannot run any of this."""
    this = "{}.{}.{}".format(*sys.version_info[:3])
    return (
        f"需要 Python 3.10 或更新的版本，这里是 {this}（{sys.executable}）。新版本见 https://www.python.org/downloads/\n"
        f"Python 3.10 or newer is needed; this is {this} ({sys.executable}). Get one from https://www.python.org/downloads/"
    )


def lacking(requirements: str, exactly: bool) -> "list[str]":
    """The packages of the file that are not installed; if `exactly`, also those of another version."""
    metadata = importlib.import_module("importlib.metadata")
    names = []
    for name, version in pinned(requirements):
        try:
            if metadata.version(name) != version and exactly:
                names.append(name)
        except metadata.PackageNotFoundError:
            names.append(name)
    return names


def pinned(requirements: str) -> "list[tuple[str, str]]":
    """Name and version of every package in the file and in those that it includes."""
    pins = []
    with open(os.path.join(ROOT, requirements), encoding="utf-8") as file:
        for line in file:
            pin = PIN.match(line)
            if line.startswith("-r "):
                pins += pinned(posixpath.normpath(posixpath.join(posixpath.dirname(requirements), line[3:].strip())))
            elif pin:
                pins.append((pin.group(1), pin.group(2)))
    return pins


def python_in(venv: str, windows: bool) -> str:
    """The interpreter of a virtual environment."""
    return ntpath.join(venv, "Scripts", "python.exe") if windows else posixpath.join(venv, "bin", "python")


def works(python: str) -> bool:
    """Whether this interpreter starts and is new enough: what it was made from may be gone."""
    code = f"import sys; sys.exit(sys.version_info < {OLDEST})"
    try:
        return subprocess.call([python, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


def make_venv() -> None:
    """Make .venv, or make it anew if what is there does not work."""
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        package = "python{}.{}-venv".format(*sys.version_info[:2])
        sys.exit(
            f"这个 Python 缺少 venv。在 Debian 和 Ubuntu 上运行 sudo apt install {package}，然后再运行一次。\n"
            f"This Python has no venv. On Debian and Ubuntu, run sudo apt install {package}, then run this again."
        )
    if os.path.lexists(VENV):
        if not os.path.exists(os.path.join(VENV, "pyvenv.cfg")):
            sys.exit(
                f"{VENV} 不是 Python 的虚拟环境，请改名或删除，然后再运行一次。\n"
                f"{VENV} is not a virtual environment of Python: rename or delete it, then run this again."
            )
        tell(".venv 不能用了，正在重新创建……", ".venv does not work any more; making it anew ...")
    builder = importlib.import_module("venv").EnvBuilder(clear=True, symlinks=not WINDOWS, with_pip=True)
    try:
        builder.create(VENV)
    except PermissionError as error:
        sys.exit(
            f"不能在 {ROOT} 里写文件（{error.strerror}）。请把项目放到自己能写的文件夹里。\n"
            f"Cannot write in {ROOT} ({error.strerror}). Put the project into a folder where you may write."
        )
    except (OSError, ValueError, subprocess.CalledProcessError) as error:  # a full disk; a name that venv refuses
        sys.exit(f"不能创建 {VENV}：{error}\nCannot make {VENV}: {error}")


def install(requirements: str) -> None:
    """Install the packages of the file here, with pip's own progress."""
    tell(
        "正在把需要的软件包装进 .venv，只有第一次要等一会儿……",
        "Installing what is needed into .venv; this takes a while only the first time ...",
    )
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    if importlib.util.find_spec("pip") is None:  # made by another tool, or interrupted
        subprocess.call([sys.executable, "-m", "ensurepip"], stdout=sys.stderr)
    # pip's lines are no output of the command: they go where the sentences go
    if subprocess.call([*pip, "install", "-r", os.path.join(ROOT, requirements)], stdout=sys.stderr):
        sys.exit(
            "\n软件包没有装上，原因见上面 pip 的输出，多半是网络：检查网络，或者用环境变量 PIP_INDEX_URL"
            " 指定镜像，然后再运行一次。\n"
            "The packages are not installed; the lines of pip above say why. Mostly it is the network: check it, or"
            " name a mirror in the environment variable PIP_INDEX_URL, then run this again."
        )
    importlib.invalidate_caches()


def start_again(module: str) -> None:
    """The same command in .venv; does not return."""
    python = python_in(VENV, WINDOWS)
    command = [python, "-m", module, *sys.argv[1:]]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONHOME"}  # it hides .venv
    if not WINDOWS:
        os.execve(python, command, environment)
    child = subprocess.Popen(command, env=environment)  # on Windows, exec would give the console back at once
    while True:
        try:
            sys.exit(child.wait())
        except KeyboardInterrupt:
            pass  # Ctrl-C reaches the child too, which ends in its own time


def tell(chinese: str, english: str) -> None:
    print(f"{chinese}\n{english}", file=sys.stderr, flush=True)

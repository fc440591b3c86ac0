"""What a command says when the packages that it needs are not installed; imports none of them."""

from __future__ import annotations

import sys


def how_to_install(error: ModuleNotFoundError, requirements: str, module: str) -> str:
    """Which commands install the packages and start the module; the error itself if the module is one of ours."""
    if (error.name or "").partition(".")[0] == "tests":
        raise error
    python = ".venv\\Scripts\\python" if sys.platform == "win32" else ".venv/bin/python"
    own = "python" if sys.platform == "win32" else "python3"
    return (
        f"这个 Python（{sys.executable}）没有 {error.name} 等软件包。在项目文件夹里运行：\n"
        f"This Python has no package {error.name}. Run in the folder of the project:\n\n"
        f"  {own} -m venv .venv\n"
        f"  {python} -m pip install -r {requirements}\n"
        f"  {python} -m {module}"
    )

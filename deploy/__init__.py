# coding: utf-8 - for Python 2, which reads this file too  # noqa: UP009
"""`python3 -m deploy`: asks for the settings, builds what `s deploy` uploads, checks what needs no account."""

import sys

if sys.version_info < (3, 8):  # noqa: UP036 - any Python can read this file, so that an old one says what it needs
    sys.exit(
        "Python {}.{} 太旧，请安装 Python 3.8 或更新的版本。\nThis is Python {}.{}; 3.8 or newer is needed.".format(
            *2 * sys.version_info[:2]
        )
    )

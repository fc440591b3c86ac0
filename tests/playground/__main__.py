"""Chat with the bot on your own machine: `python3 -m tests.playground`. What it does is in command.py."""

import sys

from tests.packages import provide


def main() -> int:
    """The exit status."""
    provide("tests/playground/requirements.txt", "tests.playground")
    from tests.playground import command  # only now: it needs the packages, and a newer Python

    return command.main()


if __name__ == "__main__":
    sys.exit(main())

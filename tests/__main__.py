"""Run the tests: `python3 -m tests`, with any option of pytest."""

import sys

from tests.packages import provide


def main() -> int:
    """The exit status."""
    provide("tests/requirements.txt", "tests")
    import pytest  # only now: it is one of the packages

    return pytest.console_main()


if __name__ == "__main__":
    sys.exit(main())

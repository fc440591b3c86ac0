"""Chat with the bot on your own machine: `python -m tests.playground`."""

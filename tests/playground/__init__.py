"""Chat with the bot on your own machine: `python3 -m tests.playground`."""

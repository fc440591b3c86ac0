"""The rooms that both functions are built from: a ground floor, and a wing for each neighbour that the bot talks to."""

from __future__ import annotations

VERSION = "1.0"

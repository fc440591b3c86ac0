"""DingTalk: what it sends, what it shows, and its API."""

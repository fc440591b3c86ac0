"""What the stand-ins assume, checked against the real services: `python -m tests.live`."""

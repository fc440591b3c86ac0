"""What the stand-ins assume, checked against the real services: `python3 -m tests.live`."""

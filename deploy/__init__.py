"""`python3 -m deploy`: builds what `s deploy` uploads, and checks before deploying what needs no account."""

"""`python -m tests.benchmark`: what the two functions cost, against their budgets."""

"""Function Compute: its requests and its API."""

"""ChatGPT, or any service with the same API."""

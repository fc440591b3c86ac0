"""OSS: the journal, the lease, the history, the daily limit."""

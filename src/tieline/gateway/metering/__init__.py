"""What a request consumed and what the gateway counts: usage, statistics, traces, the access log."""

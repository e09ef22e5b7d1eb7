"""Who may spend how much: admission, leased budgets over processes and machines, keys, idempotency."""

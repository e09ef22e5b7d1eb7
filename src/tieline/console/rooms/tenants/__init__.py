"""A tenant's own page: what they use and owe, invoices, keys, people."""

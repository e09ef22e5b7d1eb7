"""Which replica takes a request: the table, the choice, the queue, power and health."""

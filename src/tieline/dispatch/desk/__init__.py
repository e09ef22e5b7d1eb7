"""The day before: how likely a coincident peak is, what to buy, what to offer."""

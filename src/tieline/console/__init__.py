"""Shows what the fleet does and why, and records what an operator commands.

Every number on a page is a fold of records, and opens to them. Nothing here decides anything.
"""

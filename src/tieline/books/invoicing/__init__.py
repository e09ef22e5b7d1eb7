"""Invoices: what tenants owe by their use, the terms that add to it or take from it, and the paper."""

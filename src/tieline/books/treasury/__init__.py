"""Coins against loans: what a treasury does, holds, owes and may ask, and spreadsheets of it."""

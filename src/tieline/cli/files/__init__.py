"""Spreadsheets into a configuration file."""

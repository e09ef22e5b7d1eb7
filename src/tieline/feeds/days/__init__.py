"""Recorded days: a folder of prices, weather, demand and orders, and an example that anyone can have."""

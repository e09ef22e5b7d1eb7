"""Bytes: HTTP/1.1, connections to clients and engines, server-sent events."""

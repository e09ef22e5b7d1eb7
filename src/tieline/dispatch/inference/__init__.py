"""Replicas and batch work over the steps ahead."""

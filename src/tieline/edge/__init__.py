"""Reads and sets hardware, runs replicas, survives alone."""

"""Fake rigs on loopback sockets that speak the real protocols of each firmware, with every fault."""

"""The whole platform in one process, on simulated time, from one seed: see `world`."""

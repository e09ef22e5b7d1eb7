"""Commands of a platform over several machines."""

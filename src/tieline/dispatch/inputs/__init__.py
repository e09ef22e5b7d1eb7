"""What is known and what is expected of the steps ahead, as arrays."""

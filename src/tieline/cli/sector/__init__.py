"""What miners publish: read, kept, corrected, compared."""

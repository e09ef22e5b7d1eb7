"""What is asked of every test: properties that are met, skips that are known, nothing that starts where all is fast."""

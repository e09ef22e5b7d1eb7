"""What a sentence must say for its figure to be a fact: rows of data, and the words that a sentence may hold."""

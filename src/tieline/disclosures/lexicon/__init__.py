"""The words, numbers and periods of the field, in the languages that miners and their press write."""

"""Facts and the book of them: what is licensed, kept, corrected, shipped."""

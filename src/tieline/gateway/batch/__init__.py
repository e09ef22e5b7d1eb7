"""Work with a deadline: files, batches, their runner, and what is still owed."""

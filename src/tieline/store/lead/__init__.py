"""Who leads, what only a leader may write, and small things that several machines share."""

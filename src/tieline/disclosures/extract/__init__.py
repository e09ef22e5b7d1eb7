"""From what was found to candidates and facts: each figure with the licences that its text proves."""

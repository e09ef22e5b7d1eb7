"""What a month is told by: statements, cost of a bitcoin, emissions. Folds of the books, pure."""

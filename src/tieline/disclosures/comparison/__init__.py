"""The book compared: ranks, grids, explanations, and the chain they are held against."""

"""Commands of money: books, treasury, the monthly update, and what they read and write."""

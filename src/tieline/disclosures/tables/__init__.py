"""Tables in whatever shape they survived: rows, labels, columns, cells that ran together."""

"""Which rigs run, seeing what stopping and starting will cost later."""

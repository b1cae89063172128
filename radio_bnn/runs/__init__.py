"""A Config in, a stored record out, many at once."""

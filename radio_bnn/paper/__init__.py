"""This book's own machinery: its plan of runs, its claims, its figures, its chapters."""

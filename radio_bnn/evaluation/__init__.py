"""Arrays in, numbers with intervals out; knows no torch."""

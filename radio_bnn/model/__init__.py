"""The network of the paper: its priors, its layers, its input."""

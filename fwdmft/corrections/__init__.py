"""Sigma and b: what finite width adds to q, from draws of small networks or from linear response."""

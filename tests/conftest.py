"""Compiling takes most of the tests' time, and at their sizes the costlier optimisations do not earn it back."""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=1")

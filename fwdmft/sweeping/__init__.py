"""Sweeps: one experiment at every point of a grid of its fields.

`spec` is the sweep file, `points` the experiments it stands for, `run` computes them, a process and a result file
each, `combined` opens the files as one tree whose variables are `stacked` when they are asked for, `report` prints a
row a point. Nothing here imports JAX: only the processes that compute points do.
"""

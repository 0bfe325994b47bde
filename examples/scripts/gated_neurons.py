"""
A network of your own
=====================

``own_network.py`` among the examples defines a network that fwdmft has no theory for: neurons that are switched by
others. What does finite width do to it?
"""

from pathlib import Path

import matplotlib.pyplot as plt

import fwdmft

examples = Path("..")  # seen from the folder of this script
networks = fwdmft.run(fwdmft.load_experiment(examples / "own_network.yaml"))["ensemble"].to_dataset()

# %%
# Left: the mean of f over networks, at training points (lines) and test points (dashed). Both widths learn the same.
# Middle: the variance of f between networks at one test point. Right: the same times N. The curves fall onto each
# other: fluctuations are of order 1/N, as in networks that have a theory, see :doc:`/howto/own_network`.

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10, 3), layout="constrained")
for i, N in enumerate(networks["width"].values):
    one, color = networks.sel(width=N).isel(output=0), f"C{i}"
    for point, split in enumerate(networks["point_split"].values):
        style = "-" if split == "train" else "--"
        left.plot(one["time"], one["prediction_mean"][:, point], style, color=color, linewidth=0.8)
    last, error = one.isel(point=-1), "_standard_error"
    for axes, name in ((middle, "prediction_variance"), (right, "prediction_n_variance")):
        axes.errorbar(one["time"], last[name], 2 * last[name + error], color=color, label=f"N = {N}")
middle.legend()
for axes, title in ((left, "mean of f"), (middle, "Var f"), (right, "N Var f")):
    axes.set(title=title, xlabel="step")
plt.show()

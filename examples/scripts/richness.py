"""
What γ₀ does to kernels
=======================

The richness γ₀ says how strongly a network learns features. At infinite width, the same two-layer network learns the
same digits with three values of γ₀. No network is trained here: all curves are theory.
"""

import matplotlib.pyplot as plt
import numpy as np

import fwdmft

experiment = {
    "name": "richness",
    "architecture": {"kind": "mlp", "activation": "tanh"},
    "optimizer": {"kind": "gradient_descent", "learning_rate": 0.01, "steps": 101},
    "data": {"kind": "digits", "train": 16, "test": 4},
    "theory": {"neurons": 2048, "save_every": 2, "fluctuations": False, "bias": False},
}
results = {}
for gamma0 in (0.1, 1.0, 3.0):
    parameterization = {"kind": "mean_field", "gamma0": gamma0}
    results[gamma0] = fwdmft.run(fwdmft.load_experiment(experiment | {"parameterization": parameterization}))["theory"]

# %%
# Left: the training loss. Middle: the mean of K(x, x) over the points, relative to its value at the start. At γ₀ =
# 0.1 the kernel hardly moves. This is the lazy limit: the network behaves like kernel regression with K(0). At γ₀ = 3
# the kernel grows while the network learns, which makes learning faster. Right: the alignment of the feature kernel Φ
# with the targets. A rich network makes points of the same class more alike.

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10, 3), layout="constrained")
for gamma0, theory in results.items():
    label = f"$\\gamma_0$ = {gamma0:g}"
    kernel = theory["tangent_kernel"].isel(output=0, output_prime=0)
    size = np.einsum("tpp->t", kernel.transpose("time", "point", "point_prime"))
    left.semilogy(theory["time"], theory["loss"].sel(split="train"), label=label)
    middle.plot(theory["time"], size / size[0])
    right.plot(theory["time"], theory["feature_kernel_alignment"].isel(layer=0))
left.legend()
for axes, title in ((left, "training loss"), (middle, "K(t) / K(0)"), (right, "alignment of Φ with the targets")):
    axes.set(title=title, xlabel="step")
plt.show()

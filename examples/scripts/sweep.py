"""
A sweep
=======

A sweep computes one experiment for several values of its fields, each in a process of its own and into a file of its
own. All files together open as one tree, with a dimension for every field. Here the field is the learning rate η of a
linear two-layer network: its N Var f is known in closed form after one step.
"""

import tempfile

import matplotlib.pyplot as plt
import numpy as np

import fwdmft

sweep = fwdmft.load_sweep(
    {
        "name": "rates",
        "base": {
            "architecture": {"kind": "mlp", "activation": "linear"},
            "optimizer": {"kind": "gradient_descent", "steps": 16},
            "data": {
                "kind": "gaussian",
                "whiten": True,
                "features": 1,
                "train": 1,
                "test": 0,
                "teacher": {"kind": "linear"},
            },
            "theory": {"neurons": 2048, "bias": False, "covariance": False},
        },
        "over": {"optimizer.learning_rate": [0.1, 0.2, 0.4]},
    }
)

# %%
# ``run_sweep`` computes the points whose files are not there yet. So the same call goes on after an interruption. The
# tree reads the files when it is indexed, ``load`` reads them at once.

with tempfile.TemporaryDirectory() as directory:
    outcome = fwdmft.run_sweep(sweep, directory)
    theory = fwdmft.open_sweep(directory)["theory"].load().to_dataset().isel(point=0, output=0)
print("computed:", *outcome.computed)
print("N Var f:", dict(theory["prediction_variance"].sizes))

# %%
# Left: the size of f for each η. Right: N Var f in time. Networks differ most while they learn, and agree again when
# all of them have learned the point. Crosses: after one step N Var f is 4η²y² + η⁴γ₀²y⁴, as the
# :doc:`tutorial </tutorial>` derives; here y² = 1 and γ₀ = 1. Bars are two standard errors; most are smaller than the
# points.

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
for rate, one in theory.groupby("learning_rate", squeeze=False):
    one = one.isel(learning_rate=0)
    left.plot(one["time"], np.abs(one["prediction"]), ".-", label=f"η = {rate:g}")
    error = 2 * one["prediction_variance_standard_error"]
    right.errorbar(one["time"], one["prediction_variance"], error, fmt=".-")
    right.plot(1, 4 * rate**2 + rate**4, "kx", markersize=9, zorder=3)
left.legend()
left.set(title="|f| at infinite width", xlabel="step")
right.set(title="N Var f", xlabel="step")
plt.show()

"""
Large learning rates
====================

Theory treats steps exactly, so it also holds where single steps matter. At infinite width, a linear two-layer network
learns one point, x² = y² = 1, with four learning rates η. All curves are theory.
"""

import matplotlib.pyplot as plt

import fwdmft

experiment = {
    "name": "learning-rate",
    "architecture": {"kind": "mlp", "activation": "linear"},
    "data": {"kind": "gaussian", "whiten": True, "features": 1, "train": 1, "test": 0, "teacher": {"kind": "linear"}},
    "theory": {"neurons": 2048, "fluctuations": False, "bias": False},
}
results = {}
for rate in (0.1, 0.6, 0.8, 0.95):
    optimizer = {"kind": "gradient_descent", "learning_rate": rate, "steps": 41}
    results[rate] = fwdmft.run(fwdmft.load_experiment(experiment | {"optimizer": optimizer}))["theory"]

# %%
# Left: the size of the prediction. Right: η K. A step multiplies a small residual by 1 − ηK, so training that has
# converged has ηK below 2, the dashed line. With small steps K would grow to 2√2, which is too much for η above
# 1/√2 ≈ 0.71. There f oscillates until K has become small enough: the network finds a flatter solution by itself.

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
for rate, theory in results.items():
    left.plot(theory["time"], abs(theory["prediction"].values[:, 0, 0]), ".-", label=f"η = {rate:g}")
    right.plot(theory["time"], rate * theory["tangent_kernel"].values[:, 0, 0, 0, 0], ".-")
right.axhline(2, color="black", linestyle="--")
left.legend()
left.set(title="|f|", xlabel="step")
right.set(title="η K", xlabel="step")
plt.show()

"""
Theory and trained networks
===========================

Networks of finite width differ from each other, because their initial weights do. Theory predicts how much, N Var f,
and how far their mean is from the infinite width, b. Here it meets trained networks of two widths.
"""

import matplotlib.pyplot as plt

import fwdmft

experiment = {
    "name": "fluctuations",
    "architecture": {"kind": "mlp", "activation": "tanh"},
    "optimizer": {"kind": "gradient_descent", "learning_rate": 0.1, "steps": 41},
    "data": {"kind": "sphere", "features": 10, "train": 3, "test": 1, "teacher": {"kind": "linear"}},
    "theory": {"relative_error": 0.1, "save_every": 4, "covariance": False},
    "ensemble": {"widths": [16, 256], "members": [2000, 500], "save_every": 4, "kernels": False},
}
result = fwdmft.run(fwdmft.load_experiment(experiment))
theory, networks = (result[half].to_dataset().isel(output=0, point=3) for half in ("theory", "ensemble"))

# %%
# Left: N times the variance of f at the test point. The dashed line is theory, without free parameters; points are
# networks. Both widths agree with it, N = 16 nearly. Right: the mean of f over networks, minus f at infinite width,
# times N. Its limit for wide networks is b. Wide networks tell b badly: they are so close to the infinite width that
# b/N is lost in the error of their mean. Bars are two standard errors. At N = 16 terms of the next order in 1/N can
# be larger than the bars.

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
for i, N in enumerate(networks["width"].values):
    one = networks.sel(width=N)
    time, shift = one["time"] + 0.5 * i, N * (one["prediction_mean"] - theory["prediction"])
    error = 2 * one["prediction_n_variance_standard_error"]
    left.errorbar(time, one["prediction_n_variance"], error, fmt="o", markersize=3, label=f"N = {N}")
    right.errorbar(time, shift, 2 * N * one["prediction_mean_standard_error"], fmt="o", markersize=3)
left.plot(theory["time"], theory["prediction_variance"], "k--", label="theory")
right.plot(theory["time"], theory["prediction_bias"], "k--")
left.legend()
left.set(title="N Var f", xlabel="step")
right.set(title="N (E f − f at infinite width)", xlabel="step")
plt.show()

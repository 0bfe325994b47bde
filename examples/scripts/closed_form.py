"""
A theory of another program
===========================

Any theory can be held against networks that fwdmft trains. The example ``lazy_theory.py`` computes lazy two-layer
networks in closed form, in 20 lines of NumPy, and knows nothing of fwdmft. Here it meets two ensembles of lazy
networks.
"""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt

import fwdmft

examples = Path("..")  # seen from the folder of this script
sections = fwdmft.load_experiment(examples / "lazy_ensemble.yaml").model_dump(mode="json")
sections["ensemble"] |= {"widths": [16, 512], "members": 300, "kernels": False}
result = fwdmft.run(fwdmft.load_experiment(sections))

closed_form = runpy.run_path(str(examples / "lazy_theory.py"))["theory"]
theory = closed_form(
    result["data"].to_dataset(), sections["optimizer"]["learning_rate"], sections["optimizer"]["steps"]
)

# %%
# The mean of f over networks at the test points, minus the closed form. Bars are two standard errors. The closed form
# is that of infinite width: networks of width 512 agree with it, those of width 16 differ by more than the bars.
# Written into a file, both are compared in standard errors by ``fwdmft compare``, see :doc:`/howto/compare`.

networks = result["ensemble"].to_dataset()
test = (networks["point_split"] == "test").values
figure, panels = plt.subplots(1, 2, figsize=(9, 3.5), sharey=True, layout="constrained")
for axes, N in zip(panels, networks["width"].values, strict=True):
    one = networks.sel(width=N)
    difference = one["prediction_mean"] - theory["prediction"].sel(time=one["time"])
    for point in test.nonzero()[0]:
        error = 2 * one["prediction_mean_standard_error"][:, point, 0]
        axes.errorbar(one["time"] + 0.1 * point, difference[:, point, 0], error, fmt=".")
    axes.axhline(0, color="black", linestyle="--")
    axes.set(title=f"N = {N}", xlabel="step", ylabel="mean f − closed form")
plt.show()

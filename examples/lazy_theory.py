"""A theory that is not of fwdmft, in its format: lazy two-layer erf networks in closed form.

From the data of an ensemble, `neural_tangent` and trained by gradient descent on the summed squared error:

    fwdmft run lazy_ensemble.yaml -o ensemble.nc
    python lazy_theory.py ensemble.nc theory.nc
    fwdmft compare theory.nc ensemble.nc

K(x, x') = E phi(h) phi(h') + (x.x'/D) E phi'(h) phi'(h') (Williams 1998; Jacot, Gabriel & Hongler 2018) is static, and
f(t + 1) = f(t) + eta K (y - f) over the training points, from f(0) = 0. Neither has an error; Sigma and b are not here.
"""

import json
import sys

import numpy as np
import xarray as xr


def kernel(x: np.ndarray) -> np.ndarray:
    """K at infinite width, (point, point), of inputs (point, feature)."""
    gram = x @ x.T / x.shape[1]
    size = 1 + 2 * np.diag(gram)
    features = 2 / np.pi * np.arcsin(2 * gram / np.sqrt(np.outer(size, size)))
    return features + gram * 4 / np.pi / np.sqrt(np.outer(size, size) - 4 * gram**2)


def theory(data: xr.Dataset, rate: float, steps: int) -> xr.Dataset:
    """The group /theory."""
    k, y, train = kernel(data.x.values), data.y.values, data.split.values == "train"
    f = np.zeros((steps, *y.shape))
    for t in range(steps - 1):
        f[t + 1] = f[t] + rate * k[:, train] @ (y - f[t])[train]
    words = {"units": "1", "long_name": "network prediction at infinite width"}
    time = ("time", np.arange(steps), {"units": "1", "long_name": "training step"})
    return xr.Dataset({"prediction": (("time", "point", "output"), f, words)}, {"time": time})


def main(source: str, target: str) -> None:
    with xr.open_datatree(source) as ensemble:
        data, optimizer = ensemble["data"].to_dataset(), json.loads(ensemble.attrs["experiment"])["optimizer"]
        attributes = {name: ensemble.attrs[name] for name in ("title", "Conventions", "schema_version", "experiment")}
        groups = {"data": data, "theory": theory(data, optimizer["learning_rate"], optimizer["steps"])}
        tree = xr.DataTree.from_dict(
            {"/": xr.Dataset(attrs=attributes | {"creation_library": "lazy_theory"}), **groups}
        )
        tree.to_netcdf(target)


if __name__ == "__main__":
    main(*sys.argv[1:])

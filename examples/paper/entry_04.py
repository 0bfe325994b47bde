"""Whitened data: the variance of predictions grows with the number of points, and with it the loss."""

from drawing import headed
from entry import Results
from isotropic import Theory, loss_figure, numbers_of, theory_of
from linear_network import exact
from matplotlib.figure import Figure

TITLE = "Offline learning of whitened data: variance grows with P"
FILES = ("04_whitened", "04_theory")
QUICK = {
    "04_whitened": {
        "base": {"optimizer": {"steps": 51}, "ensemble": {"widths": [100], "members": 20}},
        "together": [
            {
                "data.train": [4, 32],
                "data.features": [4, 32],
                "data.teacher.coefficients": [[0, 0.5], [0, 0.17677669529663687]],
            }
        ],
    },
    "04_theory": {
        "optimizer": {"steps": 51},
        "theory": {"neurons": 512, "replicates": 2, "draws": 1024, "draw_width": 8, "bias": False},
    },
}


def figures(results: Results) -> dict[str, Figure]:
    return {"whitened": headed(loss_figure(results, FILES[0], _theory(results)), results[FILES[0]])}


def numbers(results: Results) -> list[str]:
    return numbers_of(results, FILES[0], _theory(results))


def _theory(results: Results) -> Theory:
    """The bias is that of the exact solution, which also says how it grows with every direction."""
    spec = results.settings(FILES[1])
    descent, gamma0 = spec["optimizer"], spec["parameterization"]["gamma0"]
    two, three = (
        exact([1.0, *[0.0] * others], gamma0, descent["learning_rate"], descent["steps"])["bias"]["prediction"][:, 0]
        for others in (1, 2)
    )
    return theory_of(results[FILES[1]], (two, three - two))

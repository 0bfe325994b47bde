"""Population loss of isotropic inputs (online learning of large batches): wide networks need N of the order of D.

And online learning proper, of a nonlinear teacher by nonlinear networks from fresh minibatches.
"""

from drawing import headed, in_time
from entry import Results
from isotropic import Theory, loss_figure, numbers_of, ratio_figure, theory_of
from linear_network import exact
from matplotlib.figure import Figure

TITLE = "Descent on the population loss in D dimensions"
FILES = ("05_population", "05_theory", "05_online")
QUICK = {
    "05_population": {
        "base": {"optimizer": {"learning_rate": 0.01, "steps": 101}, "ensemble": {"widths": [50, 200], "members": 20}},
        "together": [
            {
                "data.train": [4, 32],
                "data.features": [4, 32],
                "data.teacher.coefficients": [[0, 0.5], [0, 0.17677669529663687]],
            }
        ],
    },
    "05_theory": {
        "optimizer": {"learning_rate": 0.01, "steps": 101},
        "theory": {"neurons": 512, "replicates": 2, "draws": 1024, "draw_width": 8, "bias": False},
    },
    "05_online": {
        "base": {
            "optimizer": {"steps": 31},
            "data": {"train": 248, "test": 4},
            "theory": {"neurons": 512, "replicates": 2, "fluctuations": False, "bias": False},
            "ensemble": {"widths": [64], "members": 50},
        },
        "over": {"parameterization.gamma0": [0.5, 4]},
    },
}


def figures(results: Results) -> dict[str, Figure]:
    tree = results[FILES[0]]
    return {
        "population": headed(loss_figure(results, FILES[0], _theory(results)), tree),
        "dimension": headed(ratio_figure(results, FILES[0], _theory(results)), tree),
        "online": in_time(results[FILES[2]]),
    }


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

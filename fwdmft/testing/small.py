"""A case that fits any architecture, small enough for every law to take about two minutes together on two cores."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fwdmft.activations import kinked as has_kinks
from fwdmft.corrections.finite_width import multiple_of
from fwdmft.corrections.samples import PARTS
from fwdmft.experiment.optimizer import GradientDescent
from fwdmft.networks.kernels import empirical_kernels
from fwdmft.registry import Architecture
from fwdmft.testing.case import COMPARED, SEED, Case, points

SHAPES = {1: (5,), 2: (2, 3), 3: (4, 4, 1)}
"""Of one point, by the number of its axes; more axes have two entries each."""

STEPS, SAVED = 5, 2

SHARE = 0.2
"""Learning rate, in units of one over the largest eigenvalue of K (training is stable below 2), or over 1."""


def small_case(architecture: Architecture, spec: Mapping[str, Any], kinked: bool = False, **settings: Any) -> Case:
    """One training point and one test point with random entries, targets and a learning rate that suit the network.

    spec: of the architecture, as in an experiment file. kinked: the network has kinks, as relu has. settings: other
    fields of `Case`. Raises what the architecture raises for such points.
    """
    sizes = SHAPES.get(len(architecture.axes), (2,) * len(architecture.axes))
    x, y, train = points(2, int(np.prod(sizes)))
    kinked = kinked or ("activation" in spec and has_kinks(spec["activation"]))
    common: dict[str, Any] = {
        "few": 256,
        "neurons": 1 << 11,
        "draws": 512,
        "members": (COMPARED, 700),
    }
    case = Case(
        str(spec["kind"]), architecture, spec, x.reshape(2, *sizes), y, train, save_every=SAVED, **(common | settings)
    )
    # Layers have whole numbers of neurons. Networks of the first width are also those that draws are compared with.
    drawn = case.drawn
    widths: dict[str, Any] = {"draw_width": drawn, "widths": (PARTS * drawn, multiple_of(drawn, 96))}
    case = replace(case, **(widths | settings))
    largest = _largest_eigenvalue(case)
    rate = float(f"{SHARE / max(largest, 1.0):.1g}")
    # To move f by y takes features a movement of gamma0 y / sqrt(K), which is not to be large.
    fitting = {"y": y * min(1.0, largest**0.5), "optimizer": GradientDescent(learning_rate=rate, steps=STEPS)}
    return replace(case, smooth=not kinked, **(fitting | settings))


def _largest_eigenvalue(case: Case) -> float:
    """Of K of a network before training, of the training points."""
    width = case.widths[-1]
    with jax.enable_x64(True):
        network = case.build(width, jax.random.key(SEED))
        x = jnp.asarray(case.x[case.train])
        kernel = empirical_kernels(network, x, case.parameterization.richness(width), width)["tangent_kernel"]
        return float(jnp.linalg.eigvalsh(kernel.reshape(kernel.shape[0] * kernel.shape[1], -1))[-1])

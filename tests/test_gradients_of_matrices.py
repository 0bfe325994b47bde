"""K of few neurons comes from gradients of matrices: to rounding what averages between all sites say."""

import jax
import numpy as np
import pytest

from fwdmft.engine import explicit_matrix
from fwdmft.engine.field_equations import FieldEquations
from fwdmft.program.equations import ForwardProgram
from fwdmft.program.kernels import of_gradients
from fwdmft.testing.agreement import assert_equal
from fwdmft.testing.case import Case, noise
from tests.architectures import CASES

HIDDEN = [case for case in CASES if case.as_built.matrices]
SITES = {"cnn-pooled", "recurrent-mean", "transformer-causal", "transformer-heads"}
"""Cases with several fields of a point: there gradients take less."""


@pytest.mark.parametrize("case", HIDDEN, ids=str)
def test_averages_say_the_same(case: Case) -> None:
    with jax.enable_x64(True):
        equations = case.as_built
        assert isinstance(equations, ForwardProgram)
        numbers = noise(equations, 2)
        matrices = [
            explicit_matrix.of(
                jax.random.normal(jax.random.key(i), explicit_matrix.shape(m.prior, m.neurons(numbers))), m.prior, False
            )
            for i, m in enumerate(equations.matrices)
        ]

        @jax.jit
        def observed(equations: ForwardProgram) -> list[jax.Array]:
            state = equations.initial(numbers, tuple(matrices), momentum=False)
            sites = equations.sites(equations.forward(state, numbers)[1])
            own = {name: sites[name] for name in equations.structure.populations}
            taken.append(set(of_gradients(equations.structure, own)))
            return [observe(equations, sites)["tangent_kernel"] for observe in (type(equations).observe, by_averages)]

        taken: list[set[str]] = []
        by_averages = FieldEquations.observe
        actual, expected = map(np.asarray, observed(equations))
    assert bool(taken[0]) == (str(case) in SITES)
    assert_equal("K", actual, expected)

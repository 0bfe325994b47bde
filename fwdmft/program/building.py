"""Field equations from a forward program and points."""

from collections.abc import Callable, Hashable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fwdmft.program.blocks import first_capacities
from fwdmft.program.equations import ForwardProgram
from fwdmft.program.locality import check_locality
from fwdmft.program.net import Program
from fwdmft.program.structure import ProgramError, structure
from fwdmft.program.weights import InputWeights

TOLERANCE = 1e-6
"""What bases leave out of what is learned, squared, unless told otherwise."""


def forward_program(
    forward: Callable[..., Float[Array, "point output"]],
    x: Float[np.ndarray, "point ..."],
    outputs: int,
    gamma0: float,
    *arguments: Hashable,
    center: bool = True,
    widths: Mapping[str, float] | None = None,
    smooth: bool = False,
) -> ForwardProgram:
    """Field equations of a program on points x (point, ...).

    forward: called as forward(net, x, *arguments), see `net`; a program is compiled once for equal arguments. outputs:
    number of outputs. gamma0: richness. center: train and report f(t) - f(0). widths: of populations in units of N, 1
    if left out. smooth: whether everything that the program does to neurons can be differentiated twice; then networks
    with a single hidden layer need no draws.
    Raises ProgramError for a program that breaks a rule of `Net`, or that mixes neurons or points by itself, InputError
    for inputs that are all zero.
    """
    program = Program(forward, arguments)
    try:
        hash(program)
    except TypeError as error:
        raise ProgramError(
            f"arguments of a forward program are hashable, such as tuples in place of lists: {error}"
        ) from None
    with jax.ensure_compile_time_eval():
        outline = structure(program, x, outputs)
        check_locality(program, x.shape[1:], outputs)
    seen, given = outline.structure, dict(widths or {})
    unknown = set(given) - set(seen.populations)
    if unknown:
        raise ProgramError(f"widths of populations {sorted(unknown)}; the program has {', '.join(seen.populations)}")
    inputs = tuple(InputWeights(outline.rows[each.name], each.sigma, each.bias) for each in seen.inputs)
    return ForwardProgram(
        x=jnp.asarray(x),
        inputs=inputs,
        gamma0=jnp.asarray(gamma0),
        tolerance=jnp.asarray(TOLERANCE),
        moved=jnp.asarray(1.0),
        program=program,
        structure=seen,
        outputs=outputs,
        capacities=first_capacities(seen, len(x), outputs),
        widths=tuple(sorted(given.items())),
        center=center,
        twice=smooth,
        together=len(x),
    )

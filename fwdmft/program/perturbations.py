"""How the fields of one neuron respond when the neuron is perturbed at earlier times, all averages held fixed.

    y     what the neuron is fed
    v     what the neuron gives
    D     derivative of gamma0 f (`reading`)

y and D v at a time are memory of v and D y at earlier times. Together they determine v and D y at that time, by
arithmetic of the neuron alone. A perturbation follows the linearised equations; here their adjoint runs backwards in
time.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fwdmft.engine.matrix_law import Product
from fwdmft.program.equations import ForwardProgram
from fwdmft.program.places import Block, Blocks, at_places, blocks, fed_by, from_places
from fwdmft.program.reading import Fed, additions, linearised

Kernel = Float[Array, "time place time place"]


class Memory(NamedTuple):
    """For every block of a population, what y(t) keeps of D y(s), and D v(t) of v(s)."""

    ahead: tuple[Kernel, ...]
    back: tuple[Kernel, ...]


class NeuronFields(NamedTuple):
    """y and D v of some neurons of a population."""

    y: Float[Array, "*time place neuron"]
    dv: Float[Array, "*time place neuron"]


class _KnownProducts(NamedTuple):
    """Stands for a matrix whose products are known, use by use."""

    products: tuple[Float[Array, "point ... neuron"], ...]

    def apply(
        self, v: Float[Array, "vector position neuron"], noise: None, prior: None
    ) -> tuple["_KnownProducts", Product]:
        return _KnownProducts(self.products[1:]), Product(self.products[0], jnp.zeros((0, 0, 0)))


def arithmetic(
    equations: ForwardProgram, population: str, own: NeuronFields
) -> tuple[Float[Array, "given neuron"], Float[Array, "fed neuron"]]:
    """v and D y from y and D v (place, neuron), neuron by neuron."""
    structure, points, neurons = equations.structure, len(equations.x), own.y.shape[-1]
    zero = additions(structure, points, dict.fromkeys(structure.populations, neurons), own.y.dtype)
    fed, given = blocks(structure, population, points)
    # What other populations are fed is of no consequence for this one.
    y = {kind: list(getattr(zero, kind)) for kind in ("inputs", "products", "vectors")}
    for block in fed:
        arrays = from_places(own.y[block.every], fed_by(block, zero))
        y[block.kind][block.number] = arrays[0] if block.kind == "vectors" else tuple(arrays)
    action = tuple((lambda x, call, h=h: h[call]) for h in y["inputs"])
    priors: Any = (None,) * len(structure.matrices)
    noise = ((None, None),) * len(structure.matrices)
    neuron = Fed(action, tuple(y["vectors"]), tuple(map(_KnownProducts, y["products"])), priors, noise)
    run = linearised(equations.program, equations.x, structure, neuron, zero, equations.outputs)
    total: Any = None
    for block in given:
        cuts = structure.at_cuts(block.kind, block.number, range(len(structure.cuts)))
        back = from_places(own.dv[block.every], structure.at_cuts(block.kind, block.number, run.forwards.into))
        for cut, cotangent in zip(cuts, back, strict=True):
            part = run.pulled_back(cut, cotangent[:, None])
            total = part if total is None else jax.tree.map(jnp.add, total, part)
    dy = jax.tree.map(lambda a: a[:, 0], total)
    v = [a for block in given for a in structure.at_cuts(block.kind, block.number, run.forwards.into)]
    return at_places(v), at_places(a for block in fed for a in fed_by(block, dy))


def adjoint(
    neuron: Callable[[NeuronFields], tuple[Float[Array, "given neuron"], Float[Array, "fed neuron"]]],
    fields: NeuronFields,
    memory: Memory,
    places: Blocks,
    t: Int[Array, ""],
    own: slice,
    of_given: bool,
) -> NeuronFields:
    """Derivatives of v(t), or else of D y(t), at some places of theirs (target), in perturbations of y(s) and D v(s).

    neuron: (v, D y) of (y, D v). fields: along the pass, with time first. places: of the population. own: places of the
    target. of_given: whether it is v(t).
    Returns arrays (time, place, target, neuron).
    """
    targets = own.stop - own.start
    (steps, fed, neurons), given = fields.y.shape, fields.dv.shape[1]
    at_target = jnp.eye(given if of_given else fed)[:, own, None] * jnp.ones(neurons)

    def kept(
        kernels: tuple[Float[Array, "time _place time _place"], ...],
        blocks: list[Block],
        s: Int[Array, ""],
        later: Float[Array, "time every target neuron"],
    ) -> Float[Array, "earlier target neuron"]:
        """What later times keep of time s."""
        pairs = zip(kernels, blocks, strict=True)
        return jnp.concatenate(
            [jnp.tensordot(kernel[:, :, s], later[:, block.every], axes=((0, 1), (0, 1))) for kernel, block in pairs]
        )

    def one_step(back: Int[Array, ""], later: NeuronFields) -> NeuronFields:
        s = t - back
        owned = jnp.where(back == 0, at_target, 0.0)
        _, pull_back = jax.vjp(neuron, NeuronFields(fields.y[s], fields.dv[s]))
        derivatives = jax.vmap(pull_back, in_axes=1, out_axes=1)
        from_dy = kept(memory.ahead, places.fed, s, later.y)
        from_dy = from_dy if of_given else from_dy + owned
        # v does not depend on D v.
        (only,) = derivatives((jnp.zeros((given, targets, neurons)), from_dy))
        dv = later.dv.at[s].set(only.dv)
        from_v = kept(memory.back, places.given, s, dv)
        from_v = from_v + owned if of_given else from_v
        (both,) = derivatives((from_v, from_dy))
        return NeuronFields(later.y.at[s].set(both.y), dv)

    nothing = NeuronFields(*(jnp.zeros((steps, count, targets, neurons)) for count in (fed, given)))
    return jax.lax.fori_loop(0, t + 1, one_step, nothing)

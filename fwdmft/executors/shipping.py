"""How work travels between processes: pickled, but for what the experiment itself gives on the other side.

Architectures, losses and observables are code of plugins, made into functions that no pickle can hold, and for which
programs are compiled. Both sides have prepared the same experiment, so pickles refer to theirs: a network to train is
that of the experiment on some step-halving ladder, and field equations are those of the experiment with other numbers
and other room for bases.
"""

import io
import pickle
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from fwdmft.engine.field_equations import FieldEquations
from fwdmft.engine.lazy import LazyEquations
from fwdmft.engine.problem import TheoryTask
from fwdmft.networks.training import Task
from fwdmft.observables import ObservableFunction
from fwdmft.preparing import Prepared
from fwdmft.registry import registry


def packed(thing: Any) -> bytes:
    """A pickle of what is computed for an experiment, or with. Call it where JAX computes in float64."""
    buffer = io.BytesIO()
    _Packing(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(thing)
    return buffer.getvalue()


def unpacked(content: bytes, prepared: Prepared) -> Any:
    """What was packed for the experiment that was prepared. Call it where JAX computes in float64."""
    return _Unpacking(io.BytesIO(content), prepared).load()


class _Packing(pickle.Pickler):
    def persistent_id(self, thing: Any) -> tuple[Any, ...] | None:
        if isinstance(thing, FieldEquations):
            capacities = tuple(matrix.capacities for matrix in thing.matrices)
            numbers = [np.asarray(a) for a in jax.tree.leaves(thing)]
            return "equations", isinstance(thing, LazyEquations), capacities, numbers
        if isinstance(thing, TheoryTask):
            return "theory", thing.equations
        if isinstance(thing, Task):
            return "ensemble", thing.plan.ladder
        if isinstance(thing, ObservableFunction):
            return "observable", thing.name
        return None


class _Unpacking(pickle.Unpickler):
    def __init__(self, content: io.BytesIO, prepared: Prepared) -> None:
        super().__init__(content)
        self._prepared = prepared

    def persistent_load(self, reference: tuple[Any, ...]) -> Any:
        kind, *facts = reference
        return getattr(self, f"_{kind}")(*facts)

    def _equations(self, lazy: bool, capacities: Any, numbers: list[np.ndarray]) -> FieldEquations:
        assert self._prepared.theory is not None
        own = self._prepared.theory.equations
        structure = jax.tree.structure((LazyEquations(own) if lazy else own).with_capacities(capacities))
        return jax.tree.unflatten(structure, [jax.numpy.asarray(a) for a in numbers])

    def _theory(self, equations: FieldEquations) -> TheoryTask:
        assert self._prepared.theory is not None
        return replace(self._prepared.theory, equations=equations)

    def _ensemble(self, ladder: Any) -> Task:
        task = self._prepared.ensemble
        assert task is not None
        return replace(task, plan=task.plan.on_ladder(ladder))

    def _observable(self, name: str) -> ObservableFunction:
        return registry().get("observable", name)

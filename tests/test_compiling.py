"""Options of the compiler: those that this version of XLA knows, each by itself."""

import jax
import pytest

from fwdmft.meanfield import compiling


def test_unknown_options_are_left_out_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "QUICK", {"xla_nobody_knows": 1, "xla_backend_optimization_level": 1})
    compiling._options.cache_clear()
    kept = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else {}
    assert compiling._options() == kept
    compiling._options.cache_clear()

"""A forward program that is wrong says which operation and what was expected."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from fwdmft.engine.stencil import Stencil
from fwdmft.errors import PluginError
from fwdmft.plugin import Net, ProgramError, forward_program
from fwdmft.program.structure import structure

ROWS = np.random.default_rng(0).standard_normal((3, 4))
X = np.random.default_rng(0).standard_normal((3, 4, 5))


def program(change: Callable[[Net, Any], Any]) -> Callable[..., Any]:
    """A network whose features are `change(net, h)`."""

    def forward(net: Net, x: Any) -> Any:
        h, _ = net.layer("a", net.input("W", "a", x), jnp.tanh)
        return net.readout("w", "a", change(net, h))

    return forward


RIGHT = (
    lambda net, h: h - net.average("a", h)[..., None],
    lambda net, h: h * net.vector("g", "a", (4,), mean=1.0),
    lambda net, h: jax.nn.softmax(h, axis=1),
    lambda net, h: net.dense("V", "a", "a", jnp.mean(h, axis=1)),
)
MIXED = {
    "neurons": (
        lambda net, h: h - jnp.mean(h, axis=-1, keepdims=True),
        lambda net, h: net.dense("V", "a", "a", jax.nn.softmax(h)),
        lambda net, h: h + jnp.roll(net.vector("g", "a"), 1, axis=-1)[:, None],
        lambda net, h: net.average("a", h * jnp.sum(h**2, axis=-1, keepdims=True))[..., None] * h,
    ),
    "points": (
        lambda net, h: h - jnp.mean(h, axis=0),
        lambda net, h: net.dense("V", "a", "a", jnp.cumsum(h, axis=0)),
        lambda net, h: h * jnp.mean(net.average("a", h), axis=0)[..., None],
    ),
}


@pytest.mark.parametrize("change", RIGHT)
def test_right_programs_pass(change: Callable[[Net, Any], Any]) -> None:
    forward_program(program(change), X, 1, 1.0)


@pytest.mark.parametrize(("what", "change"), [(what, each) for what, actual in MIXED.items() for each in actual])
def test_mixing_is_reported(what: str, change: Callable[[Net, Any], Any]) -> None:
    with pytest.raises(ProgramError, match=rf"^net\..*: what goes in here mixes {what}"):
        forward_program(program(change), X, 1, 1.0)


def test_neurons_of_two_populations_are_distinguished() -> None:
    def forward(net: Net, x: Any, wrong: str) -> Any:
        _, v = net.layer("a", net.input("W", "a", x), jnp.tanh)
        _, u = net.layer("b", net.input("U", "b", x), jnp.tanh)
        if wrong == "added":
            v = v + u
        if wrong == "average":
            v = v * net.average("b", v)[..., None]
        return net.readout("w", "b" if wrong == "readout" else "a", v)

    forward_program(forward, X, 1, 1.0, "nothing")
    for wrong, where in (
        ("added", r"v = v \+ u"),
        ("average", r"net.average\('b'\)"),
        ("readout", r"net.readout\('w'\)"),
    ):
        with pytest.raises(ProgramError, match=f"^neurons of different populations are added.*{where}"):
            forward_program(forward, X, 1, 1.0, wrong)


@pytest.mark.parametrize(
    ("dims", "words"),
    [
        (("point", "site"), "what goes in here mixes points"),
        (("site", "thing"), 'one of the axes is "point", of the length 4'),
        (("point",), "a name for each axis of the value"),
    ],
)
def test_what_is_observed_is_of_points(dims: tuple[str, ...], words: str) -> None:
    """Axes in the wrong order: as many sites as points."""

    def forward(net: Net, x: Any) -> Any:
        h, v = net.layer("a", net.input("W", "a", x), jnp.tanh)
        net.observe("energy", dims, net.average("a", v**2).T)
        return net.readout("w", "a", v)

    with pytest.raises(ProgramError, match=rf"^net.observe\('energy'\): {words}"):
        forward_program(forward, np.random.default_rng(0).standard_normal((4, 2, 5))[:, [0, 1, 0, 1]], 1, 1.0)


def test_a_factor_of_a_readout_is_reported() -> None:
    with pytest.raises(ProgramError, match=r"a factor goes to what is read, net.readout\(name, population, factor"):
        forward_program(lambda net, x: 2 * program(RIGHT[0])(net, x), X, 1, 1.0)


@pytest.mark.parametrize(
    "change",
    [
        lambda net, h: h * h.shape[-1],
        lambda net, h: h * jnp.arange(h.shape[-1]),
        lambda net, h: h / len(h),
        lambda net, h: h * jnp.arange(len(h))[:, None, None],
    ],
)
def test_numbers_and_places_of_neurons_and_points_do_not_matter(change: Callable[[Net, Any], Any]) -> None:
    with pytest.raises(ProgramError, match=r"^net.readout\('w'\): what goes in here depends on how many points or neu"):
        forward_program(program(change), X, 1, 1.0)


def test_operations_do_not_depend_on_points() -> None:
    wrong = program(lambda net, h: net.dense("V", "a", "a", h) if len(h) > 1 else h)
    with pytest.raises(ProgramError, match="calls the same operations for any points, and for any number of them"):
        forward_program(wrong, X, 1, 1.0)


@pytest.mark.parametrize("read", [lambda net, h: 1 + net.average("a", h**2), lambda net, h: h[:, 0]])
def test_inputs_are_made_of_points(read: Callable[[Net, Array], Array]) -> None:
    """An average of features would be taken where products vanish, once and for all."""
    wrong = program(lambda net, h: h * net.average("b", net.input("U", "b", read(net, h)) ** 2)[:, None, None])
    with pytest.raises(ProgramError, match=r"^net.input\('U'\): x depends on weights here.*as net.vector\(name"):
        forward_program(wrong, X, 1, 1.0)


@pytest.mark.parametrize(
    "change",
    [
        lambda net, x: np.tanh(x),
        lambda net, x: x if x[0, 0, 0] > 0 else -x,
        lambda net, x: jax.vmap(lambda row: net.input("V", "b", row), 1, 1)(x),
    ],
)
def test_what_jax_cannot_trace_is_reported_with_its_line(change: Callable[[Net, Any], Any]) -> None:
    def forward(net: Net, x: Any) -> Any:
        _, v = net.layer("a", net.input("W", "a", change(net, x)), jnp.tanh)
        return net.readout("w", "a", v)

    with pytest.raises(ProgramError, match=r"failed with Tracer.*test_program_errors.py, line.*jnp.where in place of"):
        forward_program(forward, X, 1, 1.0)


def test_points_mixed_in_x_are_reported() -> None:
    def forward(net: Net, x: Any) -> Any:
        _, v = net.layer("a", net.input("W", "a", x - jnp.mean(x, axis=0)), jnp.tanh)
        return net.readout("w", "a", v)

    with pytest.raises(ProgramError, match=r"^net.input\('W'\): what goes in here mixes points"):
        forward_program(forward, X, 1, 1.0)


def test_errors_within_a_program_are_reported_with_its_line() -> None:
    wrong = program(lambda net, h: h + net.average("a", h))
    with pytest.raises(PluginError) as error:
        forward_program(wrong, X, 1, 1.0)
    words = str(error.value)
    assert "test_program_errors.py, line" in words and 'h + net.average("a", h)' in words
    assert "(point, *site, neuron); x has the shape (3, 4, 5)" in words


def test_arguments_that_are_no_keys_are_reported() -> None:
    with pytest.raises(ProgramError, match="hashable, such as tuples in place of lists"):
        forward_program(program(RIGHT[0]), X, 1, 1.0, [1.0])


def hidden(net: Net) -> tuple[Array, Array]:
    return net.layer("hidden", net.input("W", "hidden", ROWS), jnp.tanh)


def read(net: Net) -> Array:
    return net.readout("w", "hidden", hidden(net)[1])


def twice(net: Net, first: Callable[[], Any], second: Callable[[], Any]) -> Array:
    first(), second()
    return read(net)


OTHER = np.ones((3, 5))
BROKEN: dict[str, tuple[Callable[[Any], Any], str]] = {
    "no readout": (lambda net: hidden(net)[1][:, :1], "calls net.readout at least once, and returns its value"),
    "another value": (
        lambda net: 2 * read(net),
        "returns what net.readout gave, or the sum of all such values as they are",
    ),
    "a readout left out": (
        lambda net: twice(net, lambda: net.input("V", "b", ROWS), lambda: net.readout("v", "b", jnp.zeros((3, 2)))),
        "returns what net.readout gave, or the sum of all such values as they are",
    ),
    "no layers": (
        lambda net: net.readout("w", "a", net.input("W", "a", ROWS)),
        "names its hidden layers with net.layer",
    ),
    "input of numbers": (
        lambda net: net.input("W", "a", ROWS[:, 0]),
        r"net.input\('W'\): x has axes \(point, site, feature\), not the shape \(3,\)",
    ),
    "input without points": (lambda net: net.input("W", "a", ROWS[:2]), r"not the shape \(2, 4\)"),
    "input of other features": (
        lambda net: twice(net, lambda: net.input("V", "b", ROWS), lambda: net.input("V", "b", OTHER)),
        r"net.input\('V'\): every use of a name has the same settings; features = 5 is not features = 4",
    ),
    "negative strength of biases": (
        lambda net: net.input("V", "b", ROWS, bias=-0.3),
        r"net.input\('V'\): got bias = -0.3; expected a finite number of at least 0",
    ),
    "standard deviations that are none": (
        lambda net: net.readout("w", "hidden", hidden(net)[1], sigma=float("nan")),
        r"net.readout\('w'\): got sigma = nan; expected a finite number of at least 0",
    ),
    "infinite numbers": (
        lambda net: twice(net, lambda: hidden(net), lambda: net.vector("g", "hidden", mean=float("inf"))),
        r"net.vector\('g'\): got mean = inf; expected a finite number",
    ),
    "other settings": (
        lambda net: twice(net, lambda: net.input("V", "b", ROWS), lambda: net.input("V", "b", ROWS, sigma=2.0)),
        r"net.input\('V'\): every use of a name has the same settings; sigma = 2.0 is not sigma = 1.0",
    ),
    "other weights": (
        lambda net: twice(net, lambda: net.input("V", "b", ROWS), lambda: net.vector("V", "b")),
        r"net.vector\('V'\): 'V' already names other weights",
    ),
    "stencil of other positions": (
        lambda net: net.dense("W", "a", "b", net.input("V", "a", ROWS), stencil=Stencil(((0, 1),), 2)),
        r"net.dense\('W'\): the stencil reads 2 positions on the last axis of sites, not \(\)",
    ),
    "a population that nothing leads to": (
        lambda net: net.dense("W", "b", "a", net.input("V", "a", ROWS)),
        r"net.dense\('W'\): 'b' is not a population that an input, a matrix or a vector leads to: a",
    ),
    "a population before any": (lambda net: net.average("a", jnp.zeros((3, 2))), "leads to: none so far"),
    "no neurons": (
        lambda net: net.average("a", net.input("V", "a", ROWS)[:, 0]),
        r"net.average\('a'\): arrays have axes \(point, site, neuron\); this one has the shape \(3,\)",
    ),
    "features without neurons": (
        lambda net: net.layer("a", net.input("V", "a", ROWS), lambda h: jnp.mean(h, axis=-1)),
        r"net.layer\('a'\), features: arrays have axes",
    ),
    "a readout twice": (
        lambda net: read(net) + net.readout("w", "hidden", jnp.zeros((3, 2))),
        r"net.readout\('w'\): a readout is read once; give the second one another name",
    ),
    "a usual observable": (
        lambda net: net.observe("prediction", ("point",), jnp.zeros(3)),
        r"net.observe\('prediction'\): a name that is not in use; in use are \['prediction', 'feature_kernel'",
    ),
    "an observable twice": (
        lambda net: twice(net, *[lambda: net.observe("a", ("point",), jnp.zeros(3))] * 2),
        r"in use are .*'a'\]",
    ),
    "axes without names": (
        lambda net: net.observe("a", ("point",), jnp.zeros((3, 1))),
        r"net.observe\('a'\): a name for each axis of the value; \('point',\) are not those of \(3, 1\)",
    ),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_a_broken_rule_is_named(rule: str) -> None:
    program, message = BROKEN[rule]
    with pytest.raises(ProgramError, match=message):
        structure(lambda net, x: program(net), ROWS, 1)


def test_widths_of_unknown_populations() -> None:
    with pytest.raises(ProgramError, match=r"widths of populations \['b'\]; the program has a"):
        forward_program(program(lambda net, h: h), ROWS, 1, 1.0, widths={"b": 2.0})

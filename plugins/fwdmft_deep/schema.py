"""Schema of fully connected networks of any depth."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from fwdmft.plugin import MOST_LAYERS, ActivatedArchitecture, Count, InputError, NonNegativeReal, PositiveReal, Whole


class Deep(ActivatedArchitecture):
    """A network with `depth` hidden layers.

    h^1 = W^0 x / sqrt(D), h^(l+1) = [h^l +] beta W^l v^l / sqrt(N_l), f = w . v^L / (gamma0 N_L), with features
    v^l = phi(h^l), or phi of the normalised h^l, times k^l = K^(l-1) v^(l-1) / sqrt(N_(l-1)) where there are gates.
    """

    kind: Literal["deep"] = Field("deep", description="Any number of hidden layers.")
    depth: Count = Field(le=MOST_LAYERS, description="Number L of hidden layers (layers).")
    bias: NonNegativeReal = Field(
        0.0, description="Standard deviation sigma_b of the initial biases of hidden layers (dimensionless); 0: none."
    )
    width_ratios: tuple[PositiveReal, ...] | None = Field(
        None,
        description="Width of each hidden layer in units of the width N (dimensionless), a list of depth numbers; "
        "each a whole number of neurons; left out: 1 for all.",
    )
    branch_scale: PositiveReal | None = Field(
        None,
        description="Scale beta of residual branches, h^(l+1) = h^l + beta W^l phi(h^l) / sqrt(N) (dimensionless; of "
        "order depth^(-1/2)); left out: no residual connections.",
    )
    normalization: Literal["none", "layer", "rms"] = Field(
        "none",
        description="What phi acts on, with averages <.> over the neurons of a layer. none: h; layer: (h - <h>) / "
        "sqrt(<(h - <h>)^2> + 1e-6); rms: h / sqrt(<h^2> + 1e-6).",
    )
    gate: bool = Field(
        False,
        description="Features of a layer are phi(h) k, where k = K v / sqrt(N) comes from the layer below through a "
        "second matrix, k = K x / sqrt(D) in the first layer.",
    )
    frozen: tuple[Whole, ...] = Field(
        (),
        description="Weights that are not trained: 0 is the input weights, 1 .. depth - 1 the hidden matrices, depth "
        "the readout (numbers); a layer's bias and the matrix of its gate go with the weights below it.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Deep:
        if self.width_ratios is not None and len(self.width_ratios) != self.depth:
            raise InputError("width_ratios", list(self.width_ratios), f"a list of {self.depth} (depth) numbers")
        if self.width_ratios is not None and self.branch_scale is not None and set(self.width_ratios) != {1.0}:
            expected = "1 for every layer of a residual network, whose layers add up neuron by neuron"
            raise InputError("width_ratios", list(self.width_ratios), expected)
        if any(number > self.depth for number in self.frozen) or len(set(self.frozen)) > self.depth:
            expected = f"numbers of weights from 0 (input weights) to {self.depth} (readout), but not all of them"
            raise InputError("frozen", list(self.frozen), expected)
        return self

    def widths(self) -> tuple[float, ...]:
        """Width of each hidden layer in units of N."""
        return self.width_ratios or (1.0,) * self.depth

    def trained(self) -> tuple[bool, ...]:
        """Which of the depth + 1 weights are trained."""
        return tuple(number not in self.frozen for number in range(self.depth + 1))

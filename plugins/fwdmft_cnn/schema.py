"""Schema of convolutional networks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from fwdmft.plugin import MOST_LAYERS, ActivatedArchitecture, Count, InputError, NonNegativeReal, PositiveReal


class Cnn(ActivatedArchitecture):
    """A convolutional network: `depth` layers of N channels each, on images (height, width, channel).

    h_a^(l+1) = [h_a^l] + beta sum_k W_k^l u_(a+k)^l / sqrt(N n_k), with u = pool(phi(h)), u^0 = x and D input channels
    in place of N. Readout over A positions: f = sum_a w_a . u_a / (gamma0 N sqrt(A)), or w . mean_a u_a / (gamma0 N).
    """

    kind: Literal["cnn"] = Field("cnn", description="Convolutional; the width N is the number of channels.")
    depth: Count = Field(le=MOST_LAYERS, description="Number L of convolutional layers (layers).")
    kernel_size: Count = Field(3, le=63, description="Height and width of the kernels, n_k = kernel_size^2 (pixels).")
    stride: Count = Field(1, le=10**4, description="Distance between the places where kernels are applied (pixels).")
    padding: Literal["zeros", "circular"] = Field(
        "zeros", description="What kernels read beyond the border. With stride 1 the size of the image is kept."
    )
    pooling: Literal["none", "average"] = Field(
        "none", description="average: mean over blocks of 2x2 positions after each layer (an odd border is dropped)."
    )
    readout: Literal["flatten", "global_average"] = Field(
        "flatten", description="flatten: weights for each position; global_average: of the mean over positions."
    )
    bias: NonNegativeReal = Field(
        0.0, description="Standard deviation sigma_b of the initial biases of channels (dimensionless); 0: none."
    )
    branch_scale: PositiveReal | None = Field(
        None,
        description="Scale beta of residual branches (dimensionless; of order depth^(-1/2)); left out: no residual "
        "connections. They need stride 1 and no pooling.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Cnn:
        if self.branch_scale is not None and (self.stride > 1 or self.pooling != "none"):
            expected = "stride 1 and pooling none, as the layers of a residual network add up position by position"
            raise InputError("branch_scale", self.branch_scale, expected)
        return self

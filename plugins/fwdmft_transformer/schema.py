"""Schema of transformers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fwdmft.plugin import MOST_LAYERS, ActivatedArchitecture, Count, PositiveReal


class Transformer(ActivatedArchitecture):
    """`depth` blocks of attention, and of a layer of every token by itself, on a residual stream h_a of each token a.

    With v = phi(h): q, k = Q v / sqrt(N), K v / sqrt(N), s_ab = q_a.k_b / N,
    h_a += beta V sum_b attention_ab v_b / sqrt(N), then h_a += beta W phi(h_a) / sqrt(N).
    """

    kind: Literal["transformer"] = Field(
        "transformer",
        description="Blocks of attention on x (point, token, feature); a list sigma_w has the input weights, then Q, "
        "K, V and (with mlp) W of each block, then the readout.",
    )
    depth: Count = Field(1, le=MOST_LAYERS, description="Number of blocks (blocks).")
    scores: Literal["softmax", "linear"] = Field(
        "softmax", description="Attention weights: softmax_b(s_ab), or s_ab / A over A tokens (linear)."
    )
    causal: bool = Field(
        False,
        description="Tokens b > a do not count for token a: the softmax is over b <= a, linear attention is zero there "
        "(and still divided by A).",
    )
    mlp: bool = Field(True, description="After attention, every block adds beta W phi(h_a) / sqrt(N) to each token.")
    branch_scale: PositiveReal = Field(
        1.0, description="Scale beta of what blocks add to the stream (dimensionless; of order depth^(-1/2))."
    )

    @property
    def matrices(self) -> str:
        """Names of a block's matrices, in their order in sigma_w."""
        return "QKVW" if self.mlp else "QKV"

    def remarks(self) -> tuple[str, ...]:
        if self.scores == "softmax":
            return ()
        return (
            "scores: linear attention vanishes at infinite width, at all times: changing the signs of Q and V together "
            "changes its sign and nothing else; in networks it is of order N^(-1/2)",
        )

    @property
    def weights_depth(self) -> int:
        """Depth of sigma_w: the input weights, as many hidden matrices less one, the readout."""
        return 1 + self.depth * len(self.matrices)

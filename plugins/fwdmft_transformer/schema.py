"""Schema of transformers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from fwdmft.plugin import MOST_LAYERS, ActivatedArchitecture, Count, InputError, PositiveReal


class Transformer(ActivatedArchitecture):
    """`depth` blocks of attention, and of a layer of every token by itself, on a residual stream h_a of each token a.

    With v = phi(h): q, k = Q v / sqrt(N), K v / sqrt(N), s_ab = q_a.k_b / N,
    h_a += beta V sum_b attention_ab v_b / sqrt(N), then h_a += beta W phi(h_a) / sqrt(N).
    With many heads (`heads` infinite) each of the N / d heads has d-vectors q, k, u = V v / sqrt(N), scores
    s_ab = q_a.k_b / sqrt(d) and attention of its own; h_a += beta O z_a / sqrt(N), where z_a holds
    sum_b attention_ab u_b of all heads.
    """

    kind: Literal["transformer"] = Field(
        "transformer",
        description="Blocks of attention on x (point, token, feature); a list sigma_w has the input weights, then Q, "
        "K, V, (with heads infinite) O and (with mlp) W of each block, then the readout.",
    )
    depth: Count = Field(1, le=MOST_LAYERS, description="Number of blocks (blocks).")
    heads: Literal[1, "infinite"] = Field(
        1,
        description="1: one head as wide as the stream, so attention does not vary at infinite width; infinite: N / "
        "key_size heads, whose attention varies from head to head at any width.",
    )
    key_size: Count | None = Field(
        None,
        le=64,
        description="Size d of the vectors q, k, u of each head, for heads: infinite; N is a multiple of d (neurons).",
    )
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

    @model_validator(mode="after")
    def _consistent(self) -> Transformer:
        if (self.key_size is None) != (self.heads == 1):
            expected = "a number with heads: infinite" if self.key_size is None else "nothing with one head"
            raise InputError("key_size", self.key_size, expected)
        return self

    @property
    def matrices(self) -> str:
        """Names of a block's matrices, in their order in sigma_w."""
        return "QKV" + ("" if self.heads == 1 else "O") + ("W" if self.mlp else "")

    def unobserved(self) -> tuple[str, ...]:
        return ("attention_dispersion",) if self.heads == 1 else ()

    def remarks(self) -> tuple[str, ...]:
        if self.scores == "softmax":
            return ()
        if self.heads != 1:
            return (
                "scores: linear attention of many heads has heavy tails: the few heads with the largest weights grow "
                "fastest, so averages over heads take ever more of them as training goes on; mind the standard errors",
            )
        return (
            "scores: linear attention vanishes at infinite width, at all times: changing the signs of Q and V together "
            "changes its sign and nothing else; in networks it is of order N^(-1/2)",
        )

    @property
    def weights_depth(self) -> int:
        """Depth of sigma_w: the input weights, as many hidden matrices less one, the readout."""
        return 1 + self.depth * len(self.matrices)

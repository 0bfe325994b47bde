"""The two halves of an experiment: the theory and the ensembles it is compared with."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fwdmft.errors import InputError
from fwdmft.experiment.base import Count, NonNegativeReal, PositiveReal, Seed, Spec, Steps, Whole

_Members = Annotated[Whole, Field(ge=2, le=10**6)]
_Width = Annotated[Count, Field(le=10**7)]
_Neurons = Annotated[Whole, Field(ge=16)]
_Draws = Annotated[Whole, Field(ge=32, le=2**24)]
_DrawWidth = Annotated[Whole, Field(ge=4, le=2**12)]


class TheorySpec(Spec):
    """How finely the infinite-width theory is sampled, and which finite-width corrections are computed."""

    relative_error: PositiveReal = Field(
        0.02,
        lt=1,
        description="Standard error asked of q and of Sigma, for f and K, relative to their root mean square; b, a "
        "small difference, is held to ten times it (dimensionless).",
    )
    neurons: _Neurons | None = Field(
        None,
        description="Number S of sample neurons per population; left out: as relative_error asks (neurons).",
    )
    draws: _Draws | None = Field(
        None,
        description="Number of draws of small networks for Sigma and b; left out: as relative_error asks (draws).",
    )
    draw_width: _DrawWidth | None = Field(
        None,
        description="Width n of those networks, which are coupled with networks of width 4n; left out: chosen so that "
        "the next order in 1/n is small (neurons).",
    )
    save_every: Steps = Field(1, description="Keep every n-th time and the last (steps).")
    fluctuations: bool = Field(True, description="Compute the fluctuations Sigma = lim N Cov (leading order in 1/N).")
    bias: bool = Field(True, description="Compute the bias b = lim N (E q_N - q) (leading order in 1/N).")
    seed: Seed = Field(0, description="Seed of the sample neurons and of the draws.")
    replicates: Whole = Field(
        4,
        ge=2,
        le=1000,
        description="Number of independent simulations at infinite width, whose spread gives its error; two or three "
        "give wide error bars (simulations).",
    )
    basis_tolerance: PositiveReal = Field(
        1e-6,
        description="Share of what training moves a vector by, squared, that bases of random matrices may leave out "
        "(dimensionless); many points and long trainings ask for more, e.g. 1e-4.",
    )
    two_time: bool = Field(
        False, description="Compute kernels between all pairs of saved times, with their fluctuations, as well."
    )
    responses: bool = Field(
        False,
        description="Compute the response functions A and B of each hidden matrix between all pairs of saved times as "
        "well: for networks with one output, without normalisation, attention or convolutions, at a cost that grows "
        "like (steps x points)^3.",
    )
    kernel_points: Count | None = Field(
        None,
        description="Keep kernels, their fluctuations and shifts on so many training points alone, evenly spread over "
        "their order, as subset_* variables; left out: on every point (points).",
    )
    covariance: bool = Field(True, description="Store N Cov of the predictions between all pairs of times.")


class EnsembleSpec(Spec):
    """Ensembles of finite networks trained with the same steps from independent random weights."""

    widths: tuple[_Width, ...] = Field(
        min_length=1, max_length=100, description="Distinct widths N (neurons per layer)."
    )
    members: _Members | tuple[_Members, ...] = Field(
        1000,
        description="Networks per width: one number for all widths, or a list with one per width (networks).",
    )
    seed: Seed = Field(0, description="Seed of the initial weights.")
    save_every: Steps | None = Field(
        None, description="Keep every n-th time and the last (steps); left out: as in theory, else 1."
    )
    precision: Literal["float32", "float64"] = Field("float32", description="Floating-point type of the networks.")
    kernels: bool = Field(
        True,
        description="Measure tangent, feature and gradient kernels, and what the architecture observes besides.",
    )
    kernel_points: Count | None = Field(
        None,
        description="Measure kernels on so many training points alone, evenly spread over their order, as subset_* "
        "variables; left out: on every point (points).",
    )
    predictions: Literal["auto", "every", "last"] = Field(
        "auto",
        description="Keep mean and variance of the predictions at every saved time, or at the last alone (as "
        "final_prediction_*); auto: at every one unless that takes more than half a gigabyte. Losses and accuracies "
        "are always kept at every saved time.",
    )
    samples: Whole = Field(16, description="Number of members whose predictions are kept one by one (networks).")
    diverged_share: NonNegativeReal = Field(
        0.01,
        le=1,
        description="Largest share of the networks of a width that may diverge and be left out, with a warning; more "
        "are a failed computation, as averages over the others are biased (dimensionless).",
    )

    @model_validator(mode="after")
    def _consistent(self) -> EnsembleSpec:
        if len(set(self.widths)) != len(self.widths):
            raise InputError("widths", list(self.widths), "distinct widths")
        if isinstance(self.members, tuple) and len(self.members) != len(self.widths):
            expected = f"one number, or one per width ({len(self.widths)})"
            raise InputError("members", list(self.members), expected)
        return self

    def members_per_width(self) -> tuple[int, ...]:
        """Number of networks at each of `widths`."""
        return self.members if isinstance(self.members, tuple) else (self.members,) * len(self.widths)

"""The two halves of an experiment: the theory and the ensembles it is compared with."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fwdmft.errors import InputError
from fwdmft.spec.base import Count, PositiveReal, Seed, Spec, Whole

_Members = Annotated[Whole, Field(ge=2)]


class TheorySpec(Spec):
    """How finely the infinite-width theory is sampled, and which finite-width corrections are computed."""

    neurons: Whole = Field(16384, ge=16, description="Number S of sample neurons per population (neurons).")
    fluctuation_neurons: Whole | None = Field(
        None, ge=16, description="Number of sample neurons for Sigma and b, over all replicates; left out: S (neurons)."
    )
    save_every: Count = Field(1, description="Keep every n-th time and the last (steps).")
    fluctuations: bool = Field(True, description="Compute the fluctuations Sigma = lim N Cov (leading order in 1/N).")
    bias: bool = Field(True, description="Compute the bias b = lim N (E q_N - q) (leading order in 1/N).")
    seed: Seed = Field(0, description="Seed of the sample neurons.")
    replicates: Whole = Field(
        8,
        ge=2,
        description="Number of independent samplings that share those neurons, from which Sigma, b and their "
        "standard errors are computed.",
    )
    rank: Count = Field(256, description="Largest number of directions in which Sigma is resolved (directions).")
    tolerance: PositiveReal = Field(
        1e-3,
        description="Share of the indirect fluctuations that need not be resolved, but is estimated by probes "
        "(dimensionless).",
    )
    probes: Count | None = Field(
        None,
        description="Random directions per replicate that estimate what is not resolved; left out: 4, or 16 with "
        "random matrices between layers, where b is as precise as the number of probes allows (directions).",
    )
    basis_tolerance: PositiveReal = Field(
        1e-6,
        description="Share of a vector's squared norm that the bases of random matrices may leave out (dimensionless); "
        "many points and long trainings ask for more, e.g. 1e-4.",
    )
    two_time: bool = Field(
        False, description="Compute kernels between all pairs of saved times, with their fluctuations, as well."
    )
    responses: bool = Field(
        False,
        description="Compute the response functions A and B of each hidden matrix between all pairs of saved times as "
        "well: for plain fully connected networks with one output, at a cost that grows like (steps x points)^3.",
    )
    covariance: bool = Field(True, description="Store N Cov of the predictions between all pairs of times.")


class EnsembleSpec(Spec):
    """Ensembles of finite networks trained with the same steps from independent random weights."""

    widths: tuple[Count, ...] = Field(min_length=1, description="Distinct widths N (neurons per layer).")
    members: _Members | tuple[_Members, ...] = Field(
        1000,
        description="Networks per width: one number for all widths, or a list with one per width (networks).",
    )
    seed: Seed = Field(0, description="Seed of the initial weights.")
    save_every: Count | None = Field(
        None, description="Keep every n-th time and the last (steps); left out: as in theory, else 1."
    )
    precision: Literal["float32", "float64"] = Field("float32", description="Floating-point type of the networks.")
    kernels: bool = Field(True, description="Measure tangent, feature and gradient kernels as well.")
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
    samples: Whole = Field(16, ge=0, description="Number of members whose predictions are kept one by one (networks).")

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

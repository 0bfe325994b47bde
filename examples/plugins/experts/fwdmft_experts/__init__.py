"""A mixture of experts with a learned gate, as a user would write it."""

from typing import Literal

from pydantic import Field

from fwdmft.plugin import ActivatedArchitecture, Architecture, Count, Observable, deferred, hookimpl


class Experts(ActivatedArchitecture):
    """f = sum_e p_e w_e . phi(W_e x / sqrt(D)) / (gamma0 N) with weights p = softmax_e <a_e phi(V x / sqrt(D))>."""

    kind: Literal["experts"] = Field("experts", description="Mixture of two-layer experts, a gate chooses among them.")
    experts: Count = Field(2, le=64, description="Number of experts E, each of N neurons, as the gate (experts).")


GATE = {"gate": Observable("weight of an expert", "p_e", ("expert", "point"))}
EXPERTS = Architecture(
    Experts, deferred("fwdmft_experts.forward", "field_equations"), conventions=str(Experts.__doc__), observables=GATE
)


@hookimpl
def fwdmft_architectures() -> list[Architecture]:
    return [EXPERTS]

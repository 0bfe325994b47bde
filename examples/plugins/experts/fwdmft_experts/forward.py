"""The forward pass."""

import jax

from fwdmft.plugin import activation, forward_program


def forward(net, x, spec, sigma_w):
    phi = activation(spec.activation, spec.scale, spec.gain)
    _, v = net.layer("gate", net.input("V", "gate", x, sigma=sigma_w[0]), phi)
    weights = jax.nn.softmax(net.average("gate", net.vector("a", "gate", (spec.experts,)) * v[:, None]))
    net.observe("gate", ("expert", "point"), weights.T)
    f = 0
    for e in range(spec.experts):
        _, u = net.layer(f"expert_{e}", net.input(f"W_{e}", f"expert_{e}", x, sigma=sigma_w[0]), phi)
        f += net.readout(f"w_{e}", f"expert_{e}", weights[:, e, None] * u, sigma=sigma_w[1])
    return f


def field_equations(spec, parameterization, x, outputs):
    gamma0, sigma_w = parameterization.richness(None), parameterization.weight_scales(depth=1)
    return forward_program(forward, x, outputs, gamma0, spec, sigma_w, center=parameterization.center)

"""One case on the processor and on the GPU, side by side: seconds with and without compilation, and the difference.

    python benchmarks/gpu.py [--only CASE ...] [--shared]

The theory runs in float64, ensembles in float32. Every measurement is a process of its own. --shared runs the same case
in three processes at once on one GPU. Without a GPU it says so and ends.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

CASES = {
    "large pass, two layers, P 32, S 2^17, T 200": ("mlp", 1, 32, 1 << 17, 200),
    "large pass, depth 3, P 32, S 2^13, T 200": ("deep", 3, 32, 1 << 13, 200),
    "large pass, depth 3, P 128, S 2^13, T 20": ("deep", 3, 128, 1 << 13, 20),
    "ensemble, depth 3, P 32, N 256, 128 networks": ("ensemble", 3, 32, 256, 100),
    "ensemble, depth 3, P 32, N 1024, 32 networks": ("ensemble", 3, 32, 1024, 50),
    "draws, depth 3, P 3, n 32, 4096 draws": ("draws", 3, 3, 32, 25),
}


def measure(case: str) -> dict[str, Any]:
    """In this process: seconds of the first and of the second run, and a few of the numbers found."""
    import jax
    import numpy as np

    kind, depth, points, size, steps = CASES[case]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((points, 16))
    y = rng.choice([-1.0, 1.0], (points, 1))
    train = np.arange(points) < max(1, points - 2)

    if kind == "ensemble":
        call = _ensemble(depth, x, y, train, size, steps)
    else:
        jax.config.update("jax_enable_x64", True)
        call = _draws(depth, x, y, train, size, steps) if kind == "draws" else _pass(depth, x, y, train, size, steps)
    seconds, numbers = [], None
    for _ in range(2):
        start = time.perf_counter()
        numbers = np.asarray(jax.block_until_ready(call()))
        seconds.append(time.perf_counter() - start)
    used = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)
    return {
        "platform": jax.devices()[0].platform,
        "first": seconds[0],
        "second": seconds[1],
        "gigabytes": used / 1e9,
        "numbers": np.ravel(numbers)[:512].astype(float).tolist(),
    }


def _posed(depth: int, x: Any, y: Any, train: Any, steps: int) -> tuple[Any, Any]:
    import numpy as np

    from fwdmft.engine.dynamics import training_signal
    from fwdmft.experiment.loss import SquaredError
    from fwdmft.experiment.parameterization import MeanField
    from fwdmft.optimization import Plan
    from fwdmft.registry import registry

    kind = {"kind": "mlp"} if depth == 1 else {"kind": "deep", "depth": depth}
    architecture = registry().get("architecture", kind["kind"])
    spec = architecture.spec.model_validate(kind | {"activation": "tanh"})
    equations = architecture.field_equations(spec, MeanField(gamma0=0.5), x, 1)
    return equations, training_signal(Plan(np.full(steps, 0.1 / len(x))), SquaredError(), y, train, 10)


def _pass(depth: int, x: Any, y: Any, train: Any, neurons: int, steps: int) -> Any:
    import jax.numpy as jnp

    from fwdmft.engine import neurons as populations
    from fwdmft.engine import simulation

    equations, training = _posed(depth, x, y, train, steps)

    def draw(equations: Any) -> Any:
        noise = populations.sample(equations.populations, equations.supplies, neurons, 0, 0)
        return {name: jnp.asarray(a) for name, a in noise.items()}

    computed = simulation.infinite_width(equations, draw, training, simulation.Observing())
    assert computed is not None
    noise = draw(computed.equations)
    return lambda: simulation._large_pass(computed.equations, noise, training, simulation.Observing())[0]["prediction"]


def _draws(depth: int, x: Any, y: Any, train: Any, width: int, steps: int) -> Any:
    import jax

    from fwdmft.corrections.samples import TOGETHER, Sampler, draws
    from fwdmft.engine.simulation import Observing

    equations, training = _posed(depth, x, y, train, steps)
    sampler = Sampler(equations, equations, training, width, Observing(), TOGETHER).single()
    return lambda: draws(sampler, jax.random.split(jax.random.key(0), 4096)).mean


def _ensemble(depth: int, x: Any, y: Any, train: Any, width: int, steps: int) -> Any:
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    from fwdmft.experiment.parameterization import MeanField
    from fwdmft.networks.building import builder
    from fwdmft.registry import registry

    architecture = registry().get("architecture", "deep")
    spec = architecture.spec.model_validate({"kind": "deep", "depth": depth, "activation": "tanh"})
    build = builder(architecture, spec, MeanField(gamma0=0.5), x, 1)
    inputs, targets, mask = (jnp.asarray(a, jnp.float32) for a in (x, y, train))
    rate = 0.25 * width * 0.1 / len(x)

    def member(key: Any) -> Any:
        network = build(width, key)
        weights, rest = eqx.partition(network, eqx.is_inexact_array)

        def predictions(weights: Any) -> Any:
            return jax.vmap(eqx.combine(weights, rest))(inputs)

        def loss(weights: Any) -> Any:
            return jnp.sum(mask[:, None] * (targets - predictions(weights)) ** 2) / 2

        def step(weights: Any, _: None) -> Any:
            return jax.tree.map(lambda a, g: a - rate * g, weights, jax.grad(loss)(weights)), None

        return predictions(jax.lax.scan(step, weights, None, length=steps)[0])

    run = jax.jit(jax.vmap(member))
    keys = jax.random.split(jax.random.key(0), 128 if width <= 256 else 32)
    return lambda: run(keys)


def ask(case: str, platform: str) -> dict[str, Any]:
    """Measure in a new process."""
    environment = os.environ | {"JAX_PLATFORMS": platform, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    done = subprocess.run(
        [sys.executable, __file__, "--measure", case], capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode:
        raise SystemExit(f"{case} on {platform}: {done.stderr.strip()[-400:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def gpus() -> str:
    """Names of the GPUs that JAX sees, in a process of its own."""
    text = "import jax; print(', '.join(d.device_kind for d in jax.devices() if d.platform == 'gpu'))"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=list(CASES), help="cases (all)")
    parser.add_argument("--shared", action="store_true", help="three processes at once on one GPU")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    computed = gpus()
    if not computed:
        print("No GPU is to be seen by JAX: nothing to compare.")
        return
    print(f"GPU: {computed}; processors: {len(os.sched_getaffinity(0))}")
    print(f"{'seconds: first run, then again':48s} {'CPU':>15s} {'GPU':>15s} {'ratio':>6s} {'GB':>5s}  difference")
    for case in arguments.only:
        cpu, gpu = ask(case, "cpu"), ask(case, "cuda")
        size = max(map(abs, cpu["numbers"])) or 1.0
        apart = max(abs(a - b) for a, b in zip(cpu["numbers"], gpu["numbers"], strict=True)) / size
        times = [f"{each['first']:7.2f} {each['second']:7.3f}" for each in (cpu, gpu)]
        ratio = cpu["second"] / gpu["second"]
        print(f"{case:48s} {times[0]} {times[1]} {ratio:6.1f} {gpu['gigabytes']:5.2f}  {apart:.1e}", flush=True)
        if arguments.shared:
            with ThreadPoolExecutor(3) as pool:
                three = list(pool.map(lambda _, case=case: ask(case, "cuda"), range(3)))
            print(f"{'  three processes on one GPU':48s} {'':15s} " + " ".join(f"{t['second']:.3f}" for t in three))


if __name__ == "__main__":
    main()

"""The lazy limit: predictions fluctuate because the initial kernel does; the ReLU kernel's variance against angle."""

import numpy as np
import xarray as xr
from drawing import NETWORKS, POINTS, SECOND, headed, labelled, second_handle
from entry import Results
from matplotlib.figure import Figure
from relu_angle import closed_form, measure, without_cosines

from fwdmft.plotting import style
from fwdmft.plotting.errors import TEXT, bars, network_handles

TITLE = "Lazy limit"
FILES = ("03_lazy",)
QUICK = {
    "03_lazy": {
        "optimizer": {"steps": 41},
        "theory": {"neurons": 512, "replicates": 2, "draws": 1024, "draw_width": 8, "bias": False},
        "ensemble": {"widths": [100], "members": 200, "samples": 200},
    }
}


def figures(results: Results) -> dict[str, Figure]:
    return {"lazy": headed(_lazy(results), results[FILES[0]]), "relu_angle": _angle(results)}


@style.styled
def _lazy(results: Results) -> Figure:
    tree = results[FILES[0]]
    modes = _Modes(tree)
    figure, axes = style.panels(2, 2, size=(3.8, 2.7))
    _per_point(axes[0, 0], modes)
    _trace(axes[0, 1], modes)
    _eigenmodes(axes[1, 0], modes)
    _density(axes[1, 1], modes)
    handles = [style.theory_handle("theory"), *style.width_handles([modes.width], linewidth=3, alpha=0.6)]
    style.legend_below(figure, handles)
    return figure


class _Modes:
    """Equal-time covariance of the training predictions, N Cov (time, P, P), of theory and of the widest networks."""

    def __init__(self, tree: xr.DataTree) -> None:
        theory, ensemble = tree["theory"].to_dataset(), tree["ensemble"].to_dataset().isel(width=-1)
        train = np.flatnonzero(tree["data"].to_dataset()["split"].values == "train")
        self.width = int(ensemble.width)
        self.time = theory.time.values
        covariance = theory["prediction_covariance"].isel(output=0, output_prime=0, point=train, point_prime=train)
        whole = covariance.transpose("time", "time_prime", "point", "point_prime").values
        self.theory = np.einsum("ttij->tij", whole)
        self.mean = theory["prediction"].values[:, train, 0]
        self.samples = ensemble["sample_prediction"].values[:, :, train, 0]
        apart = self.samples - self.samples.mean(0)
        self.networks = self.width * np.einsum("stp,stq->tpq", apart, apart) / (len(apart) - 1)
        kernel = theory["tangent_kernel"].isel(time=0, output=0, output_prime=0, point=train, point_prime=train)
        self.eigenvalues, self.vectors = np.linalg.eigh(kernel.values)

    def along(self, covariance: np.ndarray) -> np.ndarray:
        """(time, mode): N Var of the predictions along each eigenvector of the kernel."""
        return np.einsum("pk,tpq,qk->tk", self.vectors, covariance, self.vectors)


def _per_point(panel, modes: _Modes) -> None:
    for point, color in zip(range(4), style.shades(4), strict=True):
        panel.plot(modes.time, modes.networks[:, point, point], color=color, **NETWORKS)
        panel.plot(modes.time, modes.theory[:, point, point], **style.THEORY)
    style.time_axis(panel)
    panel.set(ylabel=r"$N\,\mathrm{Var}\,f_\mu$", title="four training points")


def _trace(panel, modes: _Modes) -> None:
    panel.plot(modes.time, np.trace(modes.networks, axis1=1, axis2=2), color=style.shades(1)[0], **NETWORKS)
    panel.plot(modes.time, np.trace(modes.theory, axis1=1, axis2=2), **style.THEORY)
    style.time_axis(panel)
    panel.set(ylabel=r"$N\,\mathrm{tr\,Cov}\,f$", title="all training points")


def _eigenmodes(panel, modes: _Modes) -> None:
    """Variance along the kernel's eigenvectors against their eigenvalues, at three times."""
    last = len(modes.time) - 1
    for place, color in zip((last // 8 or 1, last // 2, last), style.shades(3), strict=True):
        networks, theory = (modes.along(one)[place] for one in (modes.networks, modes.theory))
        error = networks * np.sqrt(2 / len(modes.samples))
        look = POINTS | {"label": f"$t = {modes.time[place]}$"}
        bars(panel, modes.eigenvalues, networks, error, color=color, **look)
        panel.plot(modes.eigenvalues, theory, **style.THEORY)
    panel.legend()
    labelled(
        panel,
        r"eigenvalue $\lambda_k$ of $K$",
        r"$N\,\mathrm{Var}\,f_k$",
        f"eigenmodes ({TEXT})",
        xscale="log",
        yscale="log",
    )


def _density(panel, modes: _Modes) -> None:
    """Output of one point over networks, when it fluctuates most and somewhat later."""
    place = int(np.argmax(modes.theory[:, 0, 0]))
    for at, color in zip((place, min(3 * place, len(modes.time) - 1)), style.shades(2), strict=True):
        outputs = modes.samples[:, at, 0]
        spread = np.sqrt(modes.theory[at, 0, 0] / modes.width)
        grid = np.linspace(*np.quantile(outputs, (0.001, 0.999)), 200)
        panel.hist(outputs, bins=40, density=True, color=color, alpha=0.5, label=f"$t = {modes.time[at]}$")
        density = np.exp(-(((grid - modes.mean[at, 0]) / spread) ** 2) / 2) / (spread * np.sqrt(2 * np.pi))
        panel.plot(grid, density, **style.THEORY)
    panel.legend()
    labelled(panel, "output $f_0$ (first point)", "density over networks", f"$N = {modes.width}$")


@style.styled
def _angle(results: Results) -> Figure:
    """N Var K and N Var Phi of a ReLU layer against the angle between two inputs."""
    measured = _measured(results)
    theta = np.linspace(0, np.pi, 200)
    figure, axes = style.panels(1, 2, size=(3.8, 2.9))
    for panel, name, symbol in zip(axes[0], ("feature", "tangent"), (r"\Phi", "K"), strict=True):
        one = measured.sel(kernel=name)
        color = style.shades(1)[0]
        bars(panel, one.angle, one.variance, one.error, **POINTS, color=color)
        panel.plot(theta, closed_form(theta)[name], **style.THEORY)
        labelled(panel, r"angle $\theta$ (rad)", rf"$N\,\mathrm{{Var}}\,{symbol}(\theta)$")
    axes[0, 1].plot(theta, without_cosines(theta), **SECOND)
    handles = [style.theory_handle("closed form"), second_handle(r"without factors of $\cos\theta$")]
    style.legend_below(figure, [*handles, *network_handles([int(measured.width)])])
    return figure


def _measured(results: Results) -> xr.Dataset:
    members = 500 if results.quick else 20000
    return results.measured("03_relu_angle", lambda: measure(width=256, members=members))


def numbers(results: Results) -> list[str]:
    one = _measured(results).sel(kernel="tangent")
    expected, lacking = closed_form(one.angle.values)["tangent"], without_cosines(one.angle.values)
    score = (one.variance.values - expected) / one.error.values
    off = abs(lacking - expected) / expected
    modes = _Modes(results[FILES[0]])
    networks, theory = (np.trace(each, axis1=1, axis2=2) for each in (modes.networks, modes.theory))
    trace_off = abs(networks[1:] - theory[1:]).max() / theory.max()
    return [
        f"trace of N Cov f, N = {modes.width}: at most {trace_off:.1%} of its largest value off the theory",
        f"ReLU kernel against angle: closed form within {abs(score).max():.1f} standard errors "
        f"({abs(one.variance.values / expected - 1).max():.1%}) of networks at {len(score)} angles",
        f"the same without factors of cos(theta): up to {off.max():.0%} off, "
        f"{abs((one.variance.values - lacking) / one.error.values).max():.0f} standard errors",
    ]

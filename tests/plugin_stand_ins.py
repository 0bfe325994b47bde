"""Fake installed distributions, to see what the registry makes of them."""

from importlib.metadata import distributions
from pathlib import Path

from fwdmft.registry import GROUP, Registry


def install(site: Path, distribution: str, entries: dict[str, str], version: str = "1.0") -> None:
    """Make `site` look as if a distribution with these entry points (name: module source) were installed."""
    info = site / f"{distribution}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    lines = [f"[{GROUP}]"]
    for name, source in entries.items():
        # The directory of the test is in the name because Python caches modules by name.
        module = f"{site.name}_{distribution}_{name}".replace("-", "_")
        (site / f"{module}.py").write_text(source)
        lines.append(f"{name} = {module}")
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


def registry_of(site: Path) -> Registry:
    """The registry of what is installed in `site`, which must be on sys.path."""
    actual = [point for dist in distributions(path=[str(site)]) for point in dist.entry_points]
    return Registry(point for point in actual if point.group == GROUP)

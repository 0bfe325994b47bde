"""The plugins under examples/plugins, as if they were installed."""

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fwdmft import registry

EXAMPLES = Path(__file__).resolve().parent.parent / "examples" / "plugins"


@contextmanager
def installed(site: Path, *names: str) -> Iterator[None]:
    """Within this block the plugins of these names are found, with what `site`, an empty directory, says of them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            project = tomllib.loads((EXAMPLES / name / "pyproject.toml").read_text())["project"]
            info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(
                f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
            )
            points = project["entry-points"]["fwdmft"].items()
            (info / "entry_points.txt").write_text("\n".join(["[fwdmft]", *(f"{key} = {at}" for key, at in points)]))
            patch.syspath_prepend(EXAMPLES / name)
        patch.syspath_prepend(site)
        _forget()
        yield
    _forget()


def _forget() -> None:
    registry.registry.cache_clear()

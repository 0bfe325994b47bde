"""Settings of Sphinx: `sphinx-build -W docs site` from the root of the repository.

Pages are Markdown (MyST). Tables of the files are made from the published schemas while pages are read, so that they
cannot fall behind them (`schema_tables`); the Python API comes from docstrings (`plain_docstrings`). The scripts in
examples/scripts are run and shown with their figures, by way of docs/scripts, which is not kept; `-D plot_gallery=0`
runs none. A finished page asks the network for nothing (`mathml`).
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import plain_docstrings  # noqa: E402
import schema_tables  # noqa: E402
from sphinx_gallery.sorting import ExplicitOrder  # noqa: E402

project = "fwdmft"
author = "the fwdmft authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_gallery.gen_gallery", "mathml"]
SCRIPTS = ("richness", "fluctuations", "learning_rate", "sweep", "gated_neurons", "closed_form")
sphinx_gallery_conf = {
    "examples_dirs": "../examples/scripts",
    "gallery_dirs": "scripts",
    "filename_pattern": r"\.py$",
    "within_subsection_order": ExplicitOrder([f"{name}.py" for name in SCRIPTS]),
    "download_all_examples": False,
    "show_signature": False,
    "write_computation_times": False,
    "abort_on_example_error": True,
}
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
autodoc_typehints = "none"
autodoc_member_order = "bysource"
html_theme = "pydata_sphinx_theme"
html_title = "fwdmft"
html_show_sourcelink = False
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_sidebars = {"**": ["globaltoc.html"]}
html_theme_options = {"navbar_center": [], "navigation_with_keys": False}


def setup(app):
    app.connect("source-read", schema_tables.fill)
    app.connect("autodoc-process-docstring", plain_docstrings.process)

"""The library that draws in the page: BokehJS, from the installed package Bokeh, to be written into the page."""

from __future__ import annotations

from fwdmft.errors import InputError


def bokeh_scripts() -> list[str]:
    """The sources of BokehJS and of its plotting interface, minified. Raises InputError where Bokeh is missing."""
    try:
        from bokeh.resources import Resources
    except ImportError:
        expected = "Bokeh, which draws the figures of the page, to be installed: pip install 'fwdmft[report]'"
        raise InputError("report", "bokeh is not installed", expected) from None
    return list(Resources(mode="inline", components=["bokeh", "bokeh-api"], minified=True).js_raw)

"""Results: one xarray DataTree per experiment, holding theory and ensemble in the same variables.

`build` assembles the tree from what the engine returns, `derived` adds what follows from that, `write` puts it on
disk without ever leaving half a file, `comparison` forms the quantities that theory and ensemble are compared in,
`scores` says how well they
agree, `report` prints tables. Nothing here imports JAX, and a written file needs nothing but a netCDF reader.
"""

from fwdmft.results.build import result_tree
from fwdmft.results.report import summary_table
from fwdmft.results.scores import agreement
from fwdmft.results.write import check_output, open_result, write_result

__all__ = ["agreement", "check_output", "open_result", "result_tree", "summary_table", "write_result"]

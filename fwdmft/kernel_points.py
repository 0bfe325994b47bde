"""Which points kernels are kept on, where those between all points would be too many."""

import numpy as np


def kernel_points(count: int | None, train: np.ndarray) -> np.ndarray | None:
    """Positions of `count` training points (all, if there are fewer), None for all points. train: (point,) mask."""
    if count is None:
        return None
    trained = np.flatnonzero(train)
    # Evenly spread, as points may come class by class.
    few = min(count, len(trained))
    return trained[np.arange(few) * len(trained) // few]

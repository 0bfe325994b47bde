"""Points to train and test on, and the readers that make them."""

from fwdmft.datasets.dataset import Dataset, check_targets
from fwdmft.datasets.files import read_dataset

__all__ = ["Dataset", "check_targets", "read_dataset"]

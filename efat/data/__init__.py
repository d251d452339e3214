"""Data sets as Lightning data modules: batches, splits and preprocessing.

Imports `errors` and `seeds`. A data set is one file here and one YAML in `conf/data/`.
"""

from efat.data.datamodule import DataModule
from efat.data.digits import Digits
from efat.data.hugging_face import HubData
from efat.data.image_folder import FolderData
from efat.data.npz import NpzData
from efat.data.parquet import ParquetData
from efat.data.samples import ArraySamples, Samples
from efat.data.sklearn_table import TableData

__all__ = [
    "ArraySamples",
    "DataModule",
    "Digits",
    "FolderData",
    "HubData",
    "NpzData",
    "ParquetData",
    "Samples",
    "TableData",
]

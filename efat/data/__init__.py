"""Data sets as LightningDataModules: tensors in memory, served in batches."""

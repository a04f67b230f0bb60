"""Files of samples (tables, arrays, folders of images) to datasets, and a model's values back to files."""

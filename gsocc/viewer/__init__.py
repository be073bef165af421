"""Looking at predictions: files in, windows and pictures out. Nothing here builds a model."""

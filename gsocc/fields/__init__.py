"""What a voxel means: maps raw network outputs to opacity, density, Gaussians and class labels."""

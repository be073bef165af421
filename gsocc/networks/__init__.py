"""Image backbones, lifting, voxel decoders and the networks assembled from them."""

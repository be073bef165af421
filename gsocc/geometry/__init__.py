"""Pure functions on points, rigid transforms, cameras and samples."""

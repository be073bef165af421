"""Stage 2: images to an occupancy field, trained by rendering it into the cameras."""

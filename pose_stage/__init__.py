"""Stage 1: metric depth and ego motion, from images and calibration alone."""

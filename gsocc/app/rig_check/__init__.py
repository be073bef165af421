"""What images say of a rig's calibration: where cameras look, how they move, and what they see of each other."""

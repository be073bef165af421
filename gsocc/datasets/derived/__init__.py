"""Files that a data set does not ship and that are made from its raw data: self-occlusion masks and depth images."""

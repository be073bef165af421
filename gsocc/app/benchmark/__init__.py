"""What `gsocc bench` measures: renderers side by side, whole training steps, and choices of the recipe."""

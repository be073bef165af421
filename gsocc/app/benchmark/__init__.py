"""What `gsocc bench` measures: renderers side by side, and whole training steps."""

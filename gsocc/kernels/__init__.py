"""Numba kernels, and nothing else: no torch, no shape-checking hook, which numba cannot compile through.

Arrays are C-contiguous; floats are float32 and indices int32 (offsets int64), so that each kernel is compiled once.
Kernels trust their input: the renderers check it before.
"""

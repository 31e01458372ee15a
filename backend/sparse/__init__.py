"""Sparse voxel tensors and the operations on them: convolution, attention, normalisation and resampling."""

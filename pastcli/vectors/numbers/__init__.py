"""Pure arithmetic: arrays in, arrays out, no files.

`arithmetic` rounds, widens and takes inner products of blocks of weights (compiled: `kernels.c`, `requantize.c`);
`moments` takes all the sums of the probe in one pass (`moments.c`);
`lowrank` is the algebra of B @ A: joining, norms, truncation, singular value decompositions.
"""

"""Pure arithmetic: arrays in, arrays out; of files, no more than an open one that sums and differences go into.

`arithmetic` rounds, widens, adds to stored weights and takes inner products, block by block; `moments` takes all the
sums of the probe in one pass; `lowrank` is the algebra of B @ A: joining, norms, truncation; `svd` finds leading
singular triplets; `compiled` says what the compiled module offers and loads it: `floats.c` (the float types),
`adding.c` and `subtracting.c` (stored floats, through `putting.c` into a file), `requantize.c` (the types of llama.cpp),
`kernels.c` (inner products, and the module), `moments.c`, of whose bytes `sources` gives the digest. Where there is no
compiler numpy does the same.
"""

"""What is checked before and after weights are added.

`compatibility`: do the two belong together. `grid_noise`: is a difference of 16-bit checkpoints a difference.
`survival`: how much of a change is left once it is stored.
"""

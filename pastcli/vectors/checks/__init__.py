"""What is checked before and after weights are added.

`compatibility`: do the two belong together; `vocabulary`: also where one has more rows of embeddings;
`towers`: what one holds beside its language model; `usage`: do both use the same weights alike. `grid_noise`: is a
difference of 16-bit checkpoints a difference; `finite`: is every weight a number. `survival`: how much of a change is left once it is stored; `cast`: and
where a model is computed in another type than it is stored in.
"""

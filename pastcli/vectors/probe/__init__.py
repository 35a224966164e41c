"""Are the changes made by SFT and by RL orthogonal, and compared with what? (METHOD 4, METHOD 6)

`measure` runs it: one pass over the files, then what else was asked for. `cosines` holds what the pass found and its
null; `subspaces` compares leading singular directions of the changes; `interference` measures on real activations;
`geometry` (with `geometry_report` and `geometry_figures`) says how each update moves the weights it starts from; `matrices`
multiplies by a stored matrix without loading it; `drift` follows a skill through a model that goes on learning; `places`
groups tensors; `report` and `figures` say it all.
"""

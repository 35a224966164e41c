"""Are the changes made by SFT and by RL orthogonal, and compared with what? (METHOD 4)

`cosines` is the measurement in one pass over the files; `subspaces` compares leading singular directions;
`interference` measures on real activations; `report` and `figures` say it.
"""

"""What a change of a model is, everything made of changes that is again a change, and adding one to a model.

`delta` says what one is and adds them up; `difference` takes it from two checkpoints; `controls` are what a skill is
compared with, and `rescaled` gives them its size; `scales` gives every tensor its multiplier; `ties` merges several;
`projection` takes a part out; `common_rows` fits embeddings of another length; `compression` makes one smaller;
`application` adds one to a model, writes the result, and says what became of it.
"""

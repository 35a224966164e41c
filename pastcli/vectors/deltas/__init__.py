"""What a change of a model is, and everything made of changes that is again a change.

`delta` says what one is and adds them up; `difference` takes it from two checkpoints; `controls` are what a skill is
compared with; `scales` gives every tensor its multiplier; `ties` merges several; `projection` takes a part out;
`compression` makes one smaller.
"""

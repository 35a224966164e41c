"""What lies on disk, read and written by blocks so that memory does not grow with the model.

`safetensors` is that file format and `memory_map` its view without copies; `skill` is the file of a skill vector,
`skill_description` what it says of itself, `skill_writer` how it is written; `opening` turns any path into a checkpoint
(adapters laid over their base); `destination` finds the writer of a result; `stream` drives blocks through threads, and
`recent` keeps what they need again and again.
"""

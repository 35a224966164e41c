"""What lies on disk, read and written by blocks so that memory does not grow with the model.

`safetensors` is that file format and `memory_map` its view without copies; `skill` is the file of a skill vector;
`opening` turns any path into a checkpoint (an adapter laid over its base); `destination` finds the writer of a result;
`stream` drives blocks through threads.
"""

"""Learning tools: what is made out of an API's documentation for training and for tests (METHOD 3, tool use).

`wording` (names and values in words) -> `calls` (a call that the simulator accepts) -> `queries` (a question that this
call answers, and the run that does) and `recall` (questions about the schema) -> `lessons` (all of it for a set of
APIs, checked) -> `written` (as a ToolBench file). `split` parts categories so that nothing is shared. Everything is a pure
function of the documentation and a seed.
"""

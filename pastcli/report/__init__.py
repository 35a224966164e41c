"""One page for any set of runs, whole in itself: no script, no network, and whatever a model or a tool said is text.

`gather` collects its parts from runs (`agents`, `scores`; `compared` pairs runs, for `past runs compare` as well), `blocks` is
what a page is made of, `text` how foreign text is written, `plots` the pictures, `episodes` what agents did step by step,
`page` the page.
"""

"""The compiled kernels. Everything else about the package stands in pyproject.toml.

They are built with the digest of the sources they come from, so that `past` can tell when a checkout has moved on
without them (after `git pull`, say): pastcli/vectors/numbers/compiled.py.
"""

import runpy

from setuptools import Extension, setup

FOLDER = "pastcli/vectors/numbers"
sources = runpy.run_path(f"{FOLDER}/sources.py")

setup(
    ext_modules=[
        Extension(
            "pastcli.vectors.numbers._kernels",
            sources=[f"{FOLDER}/{name}" for name in sources["NAMES"] if name.endswith(".c")],
            depends=[f"{FOLDER}/{name}" for name in sources["NAMES"] if name.endswith(".h")],
            define_macros=[("PAST_SOURCES", f'"{sources["digest"](FOLDER)}"')],
            extra_compile_args=["-O3"],
            py_limited_api=True,
            optional=True,  # without a C compiler numpy does the same, more slowly
        )
    ],
    options={
        "build_ext": {"force": True},  # by content, not by date: copied and checked-out files have any date
        "bdist_wheel": {
            "py_limited_api": "cp311"
        },  # the kernels keep to what every later Python has: one wheel for all of them
    },
)

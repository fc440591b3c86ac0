"""Compiles every .py in the folder named on the command line; CPython 3.10 runs this, real or in WebAssembly."""

import pathlib
import py_compile
import sys

FOLDER = pathlib.Path(sys.argv[1])

for source in sorted(FOLDER.rglob("*.py")):
    # Unchecked: Function Compute unpacks the code with other dates, and looking at dates or sources would cost time.
    py_compile.compile(
        str(source),
        dfile="/code/" + source.relative_to(FOLDER).as_posix(),  # where Function Compute puts the code
        doraise=True,
        optimize=0,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )

"""A reader's session: a block of code a line in, as JSON, and what it printed a line out.

A process of its own, with nothing of the tests in it; ``documents.Interpreter`` drives it.
"""

import contextlib
import io
import json
import linecache
import sys
import traceback

answers, sys.stdout = sys.stdout, sys.stderr
names = {"__name__": "__main__"}
for number, line in enumerate(sys.stdin):
    code, printed = json.loads(line), io.StringIO()
    # Every block is a file `example.py` to those who read it, and errors show its lines.
    filename = f"/page/{number}/example.py"
    linecache.cache[filename] = (len(code), None, code.splitlines(keepends=True), filename)
    with contextlib.redirect_stdout(printed):
        try:
            exec(compile(code, filename, "exec"), names)
        except Exception as error:  # noqa: BLE001 - whatever the page's code raises, its reader would see
            print("".join(traceback.format_exception_only(error)))
    print(json.dumps(printed.getvalue()), file=answers, flush=True)

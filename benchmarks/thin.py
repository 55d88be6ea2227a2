"""The NumPy client's half of the benchmark: runs in the environment without torch.

Reads the number of a case on each line of standard input, and answers with the seconds of each call as JSON.
"""

import json
import sys
import time

import numpy as np

import farfunc
from cases import CASES


def main() -> None:
    calls = [case.transform(farfunc, case.function(np)) for case in CASES]
    for line in sys.stdin:
        number = int(line)
        seconds = []
        for _ in range(CASES[number].calls):
            started = time.perf_counter()
            calls[number](CASES[number].argument)
            seconds.append(time.perf_counter() - started)
        print(json.dumps(seconds), flush=True)


if __name__ == "__main__":
    main()

"""``make conformance``: every operator of torch's own database, local and remote; writes docs/operators.md.

With ``--flat`` the flat programs of all samples beside the plain ones, and those of slices; writes
docs/flat_programs.md.

``python tests/conformance/run.py [--flat] [--limit N] [--processes N] [--no-page] [entry ...]``
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from conformance.compare import AGREE, CRASHED, LOCAL_FAILS, WRONG  # noqa: E402 - found by the line above
from conformance.flat_page import flat_page  # noqa: E402
from conformance.page import kind_of, page, table  # noqa: E402
from conformance.workers import run_entries, run_entry, run_flat_entry  # noqa: E402


def main() -> int:
    """Run, print what does not agree and the table; fails where anything is wrong or crashed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("entries", nargs="*", help="only these entries of op_db")
    parser.add_argument("--flat", action="store_true", help="compare flat programs with the plain ones")
    parser.add_argument("--limit", type=int, help="at most so many samples of each entry")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--no-page", action="store_true", help="do not write docs/operators.md")
    options = parser.parse_args()

    # torch's own remarks on operators that vmap takes one by one; the workers inherit this.
    os.environ["TORCH_CPP_LOG_LEVEL"] = "ERROR"
    from conformance.cases import entries

    names = options.entries or list(entries())
    results = []
    run = run_flat_entry if options.flat else run_entry
    for result in run_entries(names, options.limit, options.processes, run):
        results.append(result)
        kind = kind_of(result)
        if kind != AGREE:
            print(f"{kind:12} {result.name}: {dict(result.counts)} {result.reasons.get(kind, '')}", flush=True)
        elif sys.stderr.isatty():
            print(f"\r{len(results)} of {len(names)}", end="", file=sys.stderr)
    print(table(results))
    slowest = sorted(results, key=lambda result: -result.seconds)[:5]
    print("slowest:", ", ".join(f"{result.name} {result.seconds:.0f} s" for result in slowest))
    if not options.no_page and not options.entries:
        if options.flat:
            (ROOT / "docs" / "flat_programs.md").write_text(flat_page(results, options.limit), encoding="utf-8")
        elif options.limit is None:
            (ROOT / "docs" / "operators.md").write_text(page(results), encoding="utf-8")
    kinds = [kind_of(result) for result in results]
    compared = len(kinds) - kinds.count(LOCAL_FAILS)
    print(f"{kinds.count(AGREE)} of {compared} entries that can be compared agree")
    return int(WRONG in kinds or CRASHED in kinds)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main())

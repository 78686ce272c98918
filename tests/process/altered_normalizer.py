"""The normalizer with something taken away: python -m tests.process.altered_normalizer OPTIONS.

For controls, which must fail, and for a queue smaller than an operator can configure.

    TAILRACE_TEST_LMDB        options of every lmdb.open, as JSON: {"sync": false}
    TAILRACE_TEST_CAPACITY    bytes of the queue's blocks
"""

import json
import os
import runpy
from typing import Any

import lmdb
import msgspec

import normalizer.opening
from common.queue import Bounds

OPTIONS = json.loads(os.environ.get("TAILRACE_TEST_LMDB", "{}"))
CAPACITY_BYTES = int(os.environ.get("TAILRACE_TEST_CAPACITY", "0"))

open_lmdb = lmdb.open
load_bounds = normalizer.opening.load_bounds


def open_altered(*arguments: Any, **options: Any) -> Any:
    return open_lmdb(*arguments, **options, **OPTIONS)


def bounds_of(*arguments: Any) -> Bounds:
    bounds = load_bounds(*arguments)
    if CAPACITY_BYTES:
        bounds = msgspec.structs.replace(bounds, capacity_bytes=CAPACITY_BYTES)
    return bounds


if __name__ == "__main__":
    lmdb.open = open_altered
    normalizer.opening.load_bounds = bounds_of
    runpy.run_module("normalizer", run_name="__main__", alter_sys=True)

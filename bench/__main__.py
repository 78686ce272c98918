"""python -m bench: every question in turn; `python -m bench normalizer` asks only that one."""

import importlib
import sys

QUESTIONS = (
    *("normalizer", "features", "queue", "storage", "outage", "backfill", "payloads"),
    *("collectors", "opcua", "publish", "end_to_end", "kafka", "sparkplug"),
)

if __name__ == "__main__":
    chosen = sys.argv[1:] or QUESTIONS
    unknown = [name for name in chosen if name not in QUESTIONS]
    if unknown:
        sys.exit(f"no such question: {', '.join(unknown)}; there are {', '.join(QUESTIONS)}")
    for name in chosen:
        importlib.import_module(f"bench.{name}").main()

"""How a person picks topics and names: by a glob, or by a word that they contain."""

import fnmatch
from collections.abc import Callable


def topic_filter(glob: str) -> Callable[[str], bool]:
    """Return whether a topic is wanted: a glob over the whole topic, case aside.

    A word without wildcards stands for every topic that contains it. No two topics differ by
    case alone (the configuration refuses that), so ignoring it can mix up nothing.
    """
    pattern = glob.casefold()
    if not any(mark in pattern for mark in "*?["):
        pattern = f"*{pattern}*"
    return lambda topic: fnmatch.fnmatchcase(topic.casefold(), pattern)

"""Read YAML that somebody else may have written: plain values only, and never more of them than the text has room for.

An anchor lets a text of a few lines stand for billions of values, and a merge key makes copies of them while it is
being read. The nodes are therefore counted, each alias as all it stands for, before any value is made.
"""

from typing import Any

import yaml

LARGEST = 1 << 20
"""Characters of the longest text that is read."""

MOST_VALUES = 100_000
"""Keys and values a text may stand for, aliases written out."""


def read_yaml(text: str) -> Any:
    """The value a YAML text stands for: numbers, strings, lists and mappings, never an object of a class.

    Raises:
        ValueError: if it is no YAML, too long, nested too deeply, or stands for too many values.
    """
    if len(text) > LARGEST:
        raise ValueError(f"it is longer than {LARGEST:,} characters")
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if (count := _values(node, {})) > MOST_VALUES:
            raise ValueError(f"its anchors stand for {count:,} values, at most {MOST_VALUES:,} are read")
        return loader.construct_document(node)
    except yaml.YAMLError as fault:
        raise ValueError(" ".join(str(fault).split())) from fault
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (LookupError, AttributeError, TypeError, ArithmeticError) as fault:  # a tag its text does not fit
        raise ValueError(f"a value does not fit its tag ({fault})") from fault


def _values(node: yaml.Node, known: dict[int, int | None]) -> int:
    """How many values a node stands for; each node is looked at once, however often it is referred to."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) in known:
        count = known[id(node)]
        if count is None:
            raise ValueError("an anchor in it contains itself")
        return count
    known[id(node)] = None
    pairs = isinstance(node, yaml.MappingNode)
    parts = [part for pair in node.value for part in pair] if pairs else list(node.value)
    known[id(node)] = total = 1 + sum(_values(part, known) for part in parts)
    return total

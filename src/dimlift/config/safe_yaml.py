"""Parse untrusted YAML: plain values only, with bounded size.

Anchors let a text of a few lines stand for billions of values, and merge keys copy them during construction. The nodes
are therefore counted, with aliases expanded, before any value is constructed.
"""

from typing import Any

import yaml

MAX_CHARS = 1 << 20
"""Maximum length of a text."""

MAX_VALUES = 100_000
"""Maximum number of keys and values, with aliases expanded."""


def read_yaml(text: str) -> Any:
    """Parse a YAML text into numbers, strings, lists and mappings; objects of classes are refused.

    Raises:
        ValueError: if it is not YAML, too long, nested too deeply, or expands to too many values.
    """
    if len(text) > MAX_CHARS:
        raise ValueError(f"it is longer than {MAX_CHARS:,} characters")
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if (count := _count_values(node, {})) > MAX_VALUES:
            raise ValueError(f"its anchors expand to {count:,} values, at most {MAX_VALUES:,} are read")
        return loader.construct_document(node)
    except yaml.YAMLError as fault:
        raise ValueError(" ".join(str(fault).split())) from fault
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (LookupError, AttributeError, TypeError, ArithmeticError) as fault:  # text that does not fit its tag
        raise ValueError(f"a value does not fit its tag ({fault})") from fault


def _count_values(node: yaml.Node, counts: dict[int, int | None]) -> int:
    """Count the values of a node; each node is visited once, however often it is referenced."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) in counts:
        count = counts[id(node)]
        if count is None:
            raise ValueError("an anchor in it contains itself")
        return count
    counts[id(node)] = None
    is_mapping = isinstance(node, yaml.MappingNode)
    parts = [part for pair in node.value for part in pair] if is_mapping else list(node.value)
    counts[id(node)] = total = 1 + sum(_count_values(part, counts) for part in parts)
    return total

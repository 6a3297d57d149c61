"""YAML files and presets with `key=value` overrides: a mapping, not yet checked against any schema."""

from __future__ import annotations

import copy
import re
from collections.abc import Hashable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from pipeline.complaints import TAGS, shown
from pipeline.errors import UsageError, nearest


def preset_names(package: str) -> list[str]:
    """Return the names of the YAML files that ship in `presets` of a package."""
    folder = resources.files(package) / "presets"
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def is_yaml_file(name_or_path: str) -> bool:
    """Tell whether a name is meant as a file, not as that of a preset."""
    path = Path(name_or_path)
    return path.suffix in (".yaml", ".yml") or path.is_file()


def load_settings(
    package: str, noun: str, name_or_path: str, overrides: Sequence[str] = ()
) -> dict[str, Any]:
    """Read a preset of `package` or a YAML file, with overrides applied; `noun` is what it is called.

    Raises:
        UsageError: there is none of that name, it cannot be read or is no mapping, or a wrong override.
    """
    names = preset_names(package)
    if is_yaml_file(name_or_path):
        try:
            text = Path(name_or_path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read {noun} {name_or_path}: {error}") from error
    elif name_or_path in names:
        preset = resources.files(package) / "presets" / f"{name_or_path}.yaml"
        text = preset.read_text(encoding="utf-8")
    else:
        raise UsageError(
            f"unknown {noun} {name_or_path!r}{nearest(name_or_path, names)}; "
            f"allowed: a .yaml file or a preset ({', '.join(names)})"
        )
    content = _parse_yaml(text, f"{noun} {name_or_path}")
    if not isinstance(content, dict):
        raise UsageError(
            f"{noun} {name_or_path}: got {shown(content)}; allowed: a mapping of fields"
        )
    return override(content, overrides)


def override(content: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return `content` with `key=value` overrides applied; nothing is checked yet."""
    changed = copy.deepcopy(content)
    for override in overrides:
        _apply_override(changed, override)
    return changed


def _apply_override(content: dict[str, Any], override: str) -> None:
    """Set one dotted field. A new `kind` or `family` starts its section afresh."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UsageError(f"--set {override!r}: allowed: key=value, such as augmentation.k=3")
    *parents, last = key.split(".")
    section = content
    for depth, parent in enumerate(parents):
        value = section.get(parent)
        if value is None:
            value = section[parent] = {}
        if not isinstance(value, dict):
            raise UsageError(
                f"--set {override!r}: {'.'.join(parents[: depth + 1])} is not a section"
            )
        section = value
    value = _parse_yaml(text, f"--set {override!r}")
    if last in TAGS and section.get(last) not in (None, value):
        section.clear()
    section[last] = value


def flattened(section: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the fields of a section and of those within it by dotted names."""
    fields: dict[str, Any] = {}
    for name, value in section.items():
        if isinstance(value, dict):
            fields |= flattened(value, f"{prefix}{name}.")
        else:
            fields[prefix + name] = value
    return fields


_MAX_NODES = 100_000
"""Of one file, aliases written out: a few lines of aliases may stand for more than memory holds."""


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key given twice and reads 1e-3 as a number."""


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    loader.flatten_mapping(node)
    mapping: dict[Hashable, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in mapping:
            raise yaml.constructor.ConstructorError(
                None, None, f"field {key!r} is given twice", key_node.start_mark
            )
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("+-0123456789"),
)
_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_mapping)


def _num_nodes(node: yaml.Node, known: dict[int, int]) -> int:
    """Return how many nodes one stands for, aliases written out; refuse what holds itself, and too many."""
    if id(node) not in known:
        known[id(node)] = _MAX_NODES  # while it is being counted: only what holds itself meets that
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        inner = [part for pair in parts for part in (pair if isinstance(pair, tuple) else (pair,))]
        known[id(node)] = 1 + sum(_num_nodes(part, known) for part in inner)
    if known[id(node)] >= _MAX_NODES:
        problem = f"aliases that stand for {_MAX_NODES:,} values or more, or for themselves"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
    return known[id(node)]


def _parse_yaml(text: str, where: str) -> Any:
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _num_nodes(node, {})
        return loader.construct_document(node)
    except RecursionError as error:
        raise UsageError(f"{where}: nested too deeply") from error
    except ValueError as error:  # of a number or a date
        raise UsageError(f"{where}: {error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1} column {mark.column + 1}" if mark else ""
        reason = getattr(error, "problem", None) or str(error)
        raise UsageError(f"{where}{place}: {reason}") from error

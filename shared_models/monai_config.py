"""The configuration of a MONAI Bundle read without running code of it.

BundleConfig   configs/inference.json (or .yaml) as objects: get("network_def"), transforms("preprocessing")
NeedsTrust     it asks for more than is allowed here; the user may allow it with --trust-code

MONAI's own parser builds whatever ``_target_`` names and gives every "$..." to eval(), so a configuration is a program.
Here it is data. A ``_target_`` is one of MONAI's networks, inferers, anchors, or one of the transforms listed below, by
the module that defines it; a "$..." is arithmetic on numbers and lists, and calls of the same things. "monai.*" and
"torch.*" as a whole would not do: torch.hub.load, torch.load and monai.apps.download_url are there too.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import operator
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Optional

from .contract.errors import InvalidInput

# Modules whose own classes and functions may be built.
_NETWORKS = ("monai.networks.nets.", "monai.apps.detection.networks.", "monai.apps.detection.utils.anchor_utils")
_INFERERS = ("SlidingWindowInferer", "SimpleInferer")
# Dictionary transforms, without their ending (d, D, Dict), that only change what they are given.
_TRANSFORMS = frozenset((
    "Orientation", "Spacing", "ScaleIntensityRange", "ScaleIntensity", "NormalizeIntensity",
    "ScaleIntensityRangePercentiles", "ThresholdIntensity", "ShiftIntensity", "CropForeground", "EnsureType",
    "CastToType", "SpatialPad", "DivisiblePad", "Resize", "Activations", "AsDiscrete", "KeepLargestConnectedComponent",
    "FillHoles", "RemoveSmallObjects",
))  # fmt: skip
# Left out: this suite reads the CT, puts results back onto its grid, and writes files itself.
_LEFT_OUT = frozenset((
    "LoadImage", "EnsureChannelFirst", "Invert", "SaveImage", "DeleteItems", "CopyItems", "ClipBoxToImage",
    "AffineBoxToWorldCoordinate", "ConvertBoxMode",
))  # fmt: skip
_DTYPES = ("float16", "bfloat16", "float32", "float64", "uint8", "int16", "int32", "int64", "bool")
_ARGUMENT = re.compile(r"pretrain|path|file|dir|url|download|hub|cache", re.IGNORECASE)  # no files, no internet
_REFERENCE = re.compile(r"@([A-Za-z_]\w*(?:::\w+)*)")
_REMEDY = "Ask the bundle's author, or use another version of it."
_MOST_BYTES, _MOST_DEPTH, _MOST_ITEMS = 1 << 22, 40, 10_000
_OPERATORS: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
}  # fmt: skip
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "len": len, "range": range, "list": list, "tuple": tuple, "int": int, "float": float, "min": min, "max": max,
    "dict": dict,
}  # fmt: skip


class NeedsTrust(InvalidInput):
    """The configuration asks for code that is not allowed."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"The bundle's configuration asks for {what:.200}, which could be any program.",
            "If you trust whoever made the bundle, add it with --trust-code: its configuration is then run as it is.",
        )


def read_json(path: Path) -> Any:
    """JSON or YAML of a limited size; plain data.

    Raises
    ------
    InvalidInput : not there, too large, or neither.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InvalidInput(f"{path.name} is larger than any configuration.", "Is this a MONAI Bundle?")
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            return json.loads(text)
        import yaml

        return yaml.safe_load(text)
    except (OSError, ValueError, RecursionError) as fault:
        raise InvalidInput(f"{path.name} cannot be read.", "Download the bundle again.") from fault
    except Exception as fault:  # yaml has a tree of its own; it may also not be installed
        raise InvalidInput(f"{path.name} is not the YAML that can be read here.", "Give it as JSON.") from fault


class BundleConfig:
    """What a configuration holds, built on demand, each entry once.

    Parameters
    ----------
    body : the JSON object
    """

    def __init__(self, body: Mapping[str, Any]) -> None:
        if not isinstance(body, dict):
            raise InvalidInput("The bundle's configuration is no JSON object.", "Download the bundle again.")
        self._body = body
        self._built: dict[str, Any] = {}
        self._under_way: list[str] = []

    def __contains__(self, name: str) -> bool:
        return name in self._body

    def raw(self, name: str) -> Any:
        """An entry as it stands there, or None."""
        return self._body.get(name)

    def get(self, name: str) -> Any:
        """The entry ``name`` ("a::b::0" for what is inside), built.

        Raises
        ------
        NeedsTrust : it takes code that is not allowed. InvalidInput : it is not there, or cannot be built.
        """
        if name in self._built:
            return self._built[name]
        if name in self._under_way or len(self._under_way) > _MOST_DEPTH:
            raise InvalidInput(f"The entry {name:.60} of the configuration refers to itself.", _REMEDY)
        value: Any = self._body
        for part in name.split("::"):
            try:
                value = value[int(part)] if isinstance(value, list) else value[part]
            except (KeyError, IndexError, ValueError, TypeError):
                raise InvalidInput(f"The configuration has no entry {name:.60}.", _REMEDY) from None
        self._under_way.append(name)
        try:
            self._built[name] = self._made(value)
        finally:
            self._under_way.pop()
        return self._built[name]

    def transforms(self, name: str) -> list[Any]:
        """The transforms of an entry, without those that read, write or go back to the original grid; or none."""
        if name not in self._body:
            return []
        entry = self._body[name]
        while isinstance(entry, str) and _REFERENCE.fullmatch(entry.lstrip("$")):
            entry = self._body.get(entry.lstrip("$")[1:])
        entry = entry.get("transforms", entry) if isinstance(entry, dict) else entry
        while isinstance(entry, str) and _REFERENCE.fullmatch(entry.lstrip("$")):
            entry = self._body.get(entry.lstrip("$")[1:])
        if not isinstance(entry, list):
            raise NeedsTrust(f"{name} made by code")
        kept = [one for one in entry if not (isinstance(one, dict) and _plain_name(one.get("_target_")) in _LEFT_OUT)]
        return [made for made in (self._made(one) for one in kept) if made is not None]

    def made(self, value: Any) -> Any:
        """A part of the configuration, built; see get()."""
        return self._made(value)

    def _made(self, value: Any) -> Any:
        if isinstance(value, str):
            if value.startswith("$"):
                return self._evaluated(value[1:])
            if value.startswith("%"):
                raise NeedsTrust("parts of other files")
            whole = _REFERENCE.fullmatch(value)
            return self.get(whole.group(1)) if whole else value
        if isinstance(value, list):
            return [self._made(one) for one in value]
        if not isinstance(value, dict):
            return value
        if "_target_" not in value:
            return {name: self._made(one) for name, one in value.items()}
        return self._component(value)

    def _component(self, value: Mapping[str, Any]) -> Any:
        special = {name for name in value if name.startswith("_")} - {"_target_", "_disabled_", "_desc_"}
        if special:
            raise NeedsTrust(f"the entry {sorted(special)[0]}")
        if self._made(value.get("_disabled_", False)) is True:
            return None
        build = allowed(str(value["_target_"]))
        return _call(build, [], {name: self._made(one) for name, one in value.items() if not name.startswith("_")})

    def call_of(self, text: str, before: str) -> Optional[tuple[str, dict[str, Any]]]:
        """Of an expression such as "$@detector.set_x(a=1)" with ``before`` "detector": ("set_x", {"a": 1}).

        None where it is another expression; nothing is called.
        """
        match = re.fullmatch(rf"\$\s*@{before}\.([a-z_]+)(\(.*\))\s*", text, re.DOTALL)
        if match is None:
            return None
        arguments = self._evaluated(f"dict{match.group(2)}")
        return match.group(1), arguments

    # Expressions

    def _evaluated(self, text: str) -> Any:
        names: dict[str, Any] = {}

        def named(match: re.Match[str]) -> str:
            name = f"entry_{len(names)}"
            names[name] = self.get(match.group(1))
            return name

        if len(text) > 2000:
            raise NeedsTrust("a long expression")
        plain = _REFERENCE.sub(named, text)
        try:
            tree = ast.parse(plain.strip(), mode="eval")
        except (SyntaxError, ValueError, RecursionError):
            raise NeedsTrust(f"the expression {text:.80}") from None
        return self._value(tree.body, names, text)

    def _value(self, node: ast.AST, names: Mapping[str, Any], text: str) -> Any:
        def of(one: ast.AST) -> Any:
            return self._value(one, names, text)

        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float, str, bool, type(None))):
            return node.value
        if isinstance(node, (ast.List, ast.Tuple)):
            items = [of(one) for one in node.elts]
            return items if isinstance(node, ast.List) else tuple(items)
        if isinstance(node, ast.Name) and node.id in names:
            return names[node.id]
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr in _DTYPES:
            if node.value.id == "torch":
                return getattr(importlib.import_module("torch"), node.attr)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -of(node.operand)
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return _computed(node.op, of(node.left), of(node.right), text)
        if isinstance(node, ast.ListComp) and len(node.generators) == 1:
            return self._listed(node, names, text)
        if isinstance(node, ast.Call) and not any(isinstance(a, ast.Starred) for a in node.args):
            if all(keyword.arg for keyword in node.keywords):
                return _call(
                    _callee(node.func, text), [of(a) for a in node.args],
                    {str(keyword.arg): of(keyword.value) for keyword in node.keywords},
                )  # fmt: skip
        raise NeedsTrust(f"the expression {text:.80}")

    def _listed(self, node: ast.ListComp, names: Mapping[str, Any], text: str) -> list[Any]:
        one = node.generators[0]
        if one.ifs or one.is_async or not isinstance(one.target, ast.Name):
            raise NeedsTrust(f"the expression {text:.80}")
        items = list(self._value(one.iter, names, text))
        if len(items) > _MOST_ITEMS:
            raise NeedsTrust(f"the expression {text:.80}")
        return [self._value(node.elt, {**names, one.target.id: item}, text) for item in items]


def _computed(op: ast.operator, left: Any, right: Any, text: str) -> Any:
    both = (left, right)
    numbers = all(isinstance(side, (int, float)) and abs(side) < 1e9 for side in both)
    lists = isinstance(op, ast.Add) and isinstance(left, (list, tuple)) and type(left) is type(right)
    if not (numbers or lists) or (isinstance(op, ast.Pow) and abs(right) > 64):
        raise NeedsTrust(f"the expression {text:.80}")
    try:
        return _OPERATORS[type(op)](left, right)
    except (ArithmeticError, TypeError) as fault:
        raise InvalidInput(f"The expression {text:.80} cannot be computed.", _REMEDY) from fault


def _callee(node: ast.AST, text: str) -> Callable[..., Any]:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise NeedsTrust(f"the expression {text:.80}")
    if not parts and node.id in _FUNCTIONS:
        return _FUNCTIONS[node.id]
    return allowed(".".join([node.id, *parts]))


def _call(build: Callable[..., Any], given: list[Any], named: Mapping[str, Any]) -> Any:
    for name, value in named.items():
        # 0, False and None switch such a thing off.
        if _ARGUMENT.search(name) and value not in (None, False, 0):
            raise NeedsTrust(f"the setting {name}")
    if build is range and any(not isinstance(n, int) or abs(n) > _MOST_ITEMS for n in given):
        raise NeedsTrust("a long range")
    try:
        return build(*given, **named)
    except Exception as fault:  # MONAI's constructors raise several kinds
        what = getattr(build, "__name__", "a part")
        why = (str(fault).strip().splitlines() or [type(fault).__name__])[-1]
        raise InvalidInput(f"{what} cannot be made as the configuration says: {why:.150}", _REMEDY) from fault


def _plain_name(target: Any) -> str:
    """The last part of a transform's name, without the ending that says "of a dictionary"."""
    return re.sub(r"(?<=[a-z])(d|D|Dict)$", "", str(target).rpartition(".")[2])


def allowed(target: str) -> Callable[..., Any]:
    """What a ``_target_`` names.

    Raises
    ------
    NeedsTrust : it is none of what may be built.
    """
    name = target.rpartition(".")[2]
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", target) or name.startswith("_"):
        raise NeedsTrust(target)
    if _plain_name(target) in _TRANSFORMS and target in (name, f"monai.transforms.{name}"):
        return _member("monai.transforms", name, ("monai.transforms.",), target)
    if name in _INFERERS and target in (name, f"monai.inferers.{name}"):
        return _member("monai.inferers", name, ("monai.inferers.",), target)
    if target == "monai.apps.detection.networks.retinanet_network.resnet_fpn_feature_extractor":
        from .monai_pyramid import feature_extractor  # MONAI's own needs torchvision

        return feature_extractor
    if "." not in target:
        for module in ("monai.networks.nets", "monai.apps.detection.networks.retinanet_network",
                       "monai.apps.detection.utils.anchor_utils"):  # fmt: skip
            if (found := _found(module, name)) is not None:
                return _checked(found, _NETWORKS, target)
        raise NeedsTrust(target)
    if not f"{target}.".startswith(_NETWORKS):
        raise NeedsTrust(target)
    return _member(target.rpartition(".")[0], name, _NETWORKS, target)


def _found(module: str, name: str) -> Optional[Any]:
    try:
        return getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None


def _member(module: str, name: str, homes: tuple[str, ...], target: str) -> Callable[..., Any]:
    return _checked(_found(module, name), homes, target)


def _checked(found: Any, homes: tuple[str, ...], target: str) -> Callable[..., Any]:
    """Defined where it should be: `monai.networks.nets.resnet.torch` is there too, and is not one of its own."""
    home = str(getattr(found, "__module__", "") or "")
    if not (inspect.isclass(found) or inspect.isfunction(found)) or not f"{home}.".startswith(homes):
        raise NeedsTrust(target)
    return found  # type: ignore[no-any-return]

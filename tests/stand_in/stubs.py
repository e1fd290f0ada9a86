"""Type stubs of NVIDIA's bindings, generated from the bindings themselves, for mypy.

pybind11-stubgen reads signatures from docstrings, which are not quite Python; what follows makes
them so, and says None where the documentation or TensorRT itself does.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

SAYS_NONE = re.compile(r"or\s+(?::class:)?`*None`*\s+(?:if|in case)|None if", re.IGNORECASE)
ALSO_NONE = {"build_serialized_network", "create_execution_context", "deserialize_cuda_engine"}
"""Return None on failure, whether their documentation says so or not."""
ADDED = {
    "IHostMemory": "def __buffer__(self, flags: int, /) -> memoryview: ...",
    "Dims": "def __iter__(self) -> typing.Iterator[int]: ...",
}
"""What Python's own protocols find in these classes and stubgen does not."""
UNTYPED_RETURNS = {"nptype": "type[typing.Any]", "volume": "int"}
REPLACEMENTS = (
    (r"\bnvinfer1::(?:v_\d_\d::)?(\w+)", r"\1"),
    (r"\bnvonnxparser::(?:I(?=ParserError))?(\w+)", r"\1"),
    (r"<(\w+)\.(\w+): -?\d+>", r"..."),
    (r"\bdetail::accessor<[^>]*>", "typing.Any"),
    (r"\b(in|lambda|from|is|global|class|pass)(?=: )", r"\1_"),
    (r"\btyping\.Supports(Int|Float)\b", lambda found: found.group(1).lower()),
    (r"(-> |: |\[)bool\b", r"\1builtins.bool"),  # the module has a data type named bool
    (r"\bcapsule\b", "typing.Any"),
)


def generate(version: str, environment: Mapping[str, str], folder: Path) -> None:
    """Stubs of `import tensorrt` in this environment, as `folder`/tensorrt."""
    generator = Path(sys.executable).with_name("pybind11-stubgen")
    options = ("--ignore-all-errors", "--print-invalid-expressions-as-is")
    subprocess.run(
        [generator, "tensorrt", "-o", folder, *options],
        env=dict(environment),
        check=True,
        capture_output=True,
        timeout=120,
    )
    for path in folder.rglob("*.pyi"):
        path.write_text(corrected(path.read_text()))


def corrected(text: str) -> str:
    for pattern, replacement in REPLACEMENTS:
        text = re.sub(pattern, replacement, text)
    text = text.replace("from __future__ import annotations\n", "")
    lines = [_with_defaults(line) for line in text.splitlines()]
    tree = _Signatures().visit(ast.parse("\n".join(["import builtins", "import typing", *lines])))
    return "# mypy: ignore-errors\n" + ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def _with_defaults(line: str) -> str:
    """An argument without a default after one with a default gets one."""
    found = re.match(r"(\s*def \w+\()(.*)(\) ->.*)$", line)
    if found is None or "=" not in line:
        return line
    parts = [""]
    depth = 0
    for character in found.group(2):
        depth += (character in "[(") - (character in "])")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    seen = False
    for index, part in enumerate(parts):
        seen = seen or "=" in part
        if seen and "=" not in part and not part.strip().startswith(("*", "/")):
            parts[index] = f"{part} = ..."
    return found.group(1) + ",".join(parts) + found.group(3)


class _Signatures(ast.NodeTransformer):
    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        documentation = ast.get_docstring(node) or ""
        arguments = node.args
        last = arguments.args[len(arguments.args) - len(arguments.defaults) :]
        for argument, default in zip(last, arguments.defaults, strict=True):
            is_none = isinstance(default, ast.Constant) and default.value is None
            if is_none and argument.annotation is not None:
                argument.annotation = _type(f"{ast.unparse(argument.annotation)} | None")
        for argument in arguments.args:
            if argument.annotation is None and argument.arg not in ("self", "this", "cls"):
                argument.annotation = _type("typing.Any")
        if node.returns is None:
            node.returns = _type(UNTYPED_RETURNS.get(node.name, "typing.Any"))
        may_be_none = SAYS_NONE.search(documentation) or node.name in ALSO_NONE
        if may_be_none and isinstance(node.returns, ast.Name):
            node.returns = _type(f"{node.returns.id} | None")
        node.body = [ast.Expr(ast.Constant(...))]
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        if node.name in ADDED:
            node.body.extend(ast.parse(ADDED[node.name]).body)
        return node


def _type(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body

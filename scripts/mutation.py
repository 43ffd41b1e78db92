"""Break a pure module in every small way, and see whether its tests notice.

    scripts/mutation                              kiosk/interlock.py whole, and the quick tables of the gate's modules
    scripts/mutation --tables                     all of those tables: a minute more
    scripts/mutation --long                       all of those modules whole: some minutes
    scripts/mutation MODULE.py TEST.py ...        another module; each test file is tried until one notices

A module's tables are what it binds outside functions and classes.

Each mutant is compiled in memory and tested in a forked child, so nothing is written and every run is the same. The
tests must pass unchanged first. A mutant that runs out of CPU time counts as killed. Strings that only people read
(docstrings) are left alone. Exit code 1: a mutant survived that is not in `EQUIVALENT`.
"""

import argparse
import ast
import contextlib
import copy
import gc
import io
import os
import resource
import sys
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INTERLOCK = "kiosk/interlock.py"
TESTS = {
    INTERLOCK: ["tests/unit/test_interlock.py", "tests/properties/test_interlock_properties.py"],
    "kiosk/choreography.py": ["tests/unit/test_choreography.py"],
    "kiosk/orders.py": ["tests/unit/test_gate_orders.py"],
    "kiosk/signals.py": ["tests/unit/test_signals.py"],
    "kiosk/alerts.py": ["tests/unit/test_alerts.py"],
    "kiosk/lane.py": ["tests/unit/test_lane.py"],
    "kiosk/contacts.py": ["tests/unit/test_contacts.py"],
    "kiosk/ages.py": ["tests/unit/test_ages.py"],
}
"""What is broken by itself, and what must notice."""
SLOW = {"kiosk/choreography.py", "kiosk/orders.py"}
"""Their tables take half a minute each."""
EQUIVALENT: dict[str, str] = {}
"""Mutants that change nothing anybody can see, by name as printed, and why. None so far: the code was rewritten."""
CPU_LIMIT_S = 20
"""For one mutant; the tests of the interlock need less than two."""
PYTEST = (
    "--noconftest",
    "-x",
    "-q",
    "-s",
    "-c",
    os.devnull,
    f"--rootdir={ROOT}",
    "--tb=no",
    "--assert=plain",
    "-p",
    "no:cacheprovider",
)
"""Without the project's settings, fixtures and plugins: three times as quick, and pure modules need none."""

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_OPERATORS: dict[type[ast.operator], tuple[type[ast.operator], ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.FloorDiv,),
    ast.FloorDiv: (ast.Mult,),
    ast.BitOr: (ast.BitAnd,),
    ast.BitAnd: (ast.BitOr,),
}


def replacements(node: ast.AST, members: dict[str, list[str]]) -> Iterator[ast.AST]:
    """What may stand in the place of one node. `members`: the names in each enumeration the module defines."""
    match node:
        case ast.Compare():
            yield from _other_comparisons(node)
        case ast.BoolOp():
            yield ast.BoolOp(ast.And() if isinstance(node.op, ast.Or) else ast.Or(), node.values)
            yield from (_without(node, number) for number in range(len(node.values)))
        case ast.BinOp(left=left, right=right):
            yield from (left, right, *(ast.BinOp(left, other(), right) for other in _OPERATORS.get(type(node.op), ())))
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand
        case ast.Constant():
            yield from _other_constants(node)
        case ast.Attribute(value=ast.Name(id=name)) if node.attr in members.get(name, ()):
            yield from (ast.Attribute(node.value, other, ast.Load()) for other in members[name] if other != node.attr)
        case _:
            yield from _other_statements(node)


def _other_statements(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.If():
            yield from (_with(node, test=ast.Constant(value)) for value in (True, False))
        case ast.IfExp():
            yield from (node.body, node.orelse)
        case ast.Return(value=ast.expr()) | ast.Assign() | ast.AugAssign() | ast.Expr(value=ast.Call()):
            yield ast.Pass()
        case ast.comprehension(ifs=[_, *_]):
            yield _with(node, ifs=[])
        case ast.Call(args=[only], keywords=[]):
            yield only


def _with(node: ast.AST, **fields: object) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _without(node: ast.BoolOp, number: int) -> ast.expr:
    values = [*node.values[:number], *node.values[number + 1 :]]
    return values[0] if len(values) == 1 else ast.BoolOp(node.op, values)


def _other_comparisons(node: ast.Compare) -> Iterator[ast.AST]:
    for number, op in enumerate(node.ops):
        for other in _COMPARISONS[type(op)]:
            yield ast.Compare(node.left, [*node.ops[:number], other(), *node.ops[number + 1 :]], node.comparators)


def _other_constants(node: ast.Constant) -> Iterator[ast.AST]:
    if isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node.value, int):
        yield from (ast.Constant(node.value + 1), ast.Constant(node.value - 1))
    elif isinstance(node.value, str):
        yield ast.Constant("" if node.value else "mutant")
    elif node.value is None:
        yield ast.Constant(0)


def mutants(tree: ast.Module, *, tables_only: bool = False) -> Iterator[tuple[str, ast.Module]]:
    """Every tree that differs from this one in one place, and a name for it."""
    members = {
        found.name: [
            target.id
            for part in found.body
            if isinstance(part, ast.Assign)
            for target in part.targets
            if isinstance(target, ast.Name)
        ]
        for found in tree.body
        if isinstance(found, ast.ClassDef) and any(ast.unparse(base).endswith("Enum") for base in found.bases)
    }
    defined = (ast.FunctionDef, ast.ClassDef)
    inner = {id(node) for part in tree.body if isinstance(part, defined) for node in ast.walk(part)}
    places = [place for place in _places(tree) if not (tables_only and id(place[3]) in inner)]
    for parent, field, number, node in places:
        for other in replacements(node, members):
            name = f"line {getattr(node, 'lineno', 0) or _line(node)}: {_short(node)}  ->  {_short(other)}"
            _put(parent, field, number, other)
            yield name, ast.fix_missing_locations(copy.deepcopy(tree))
            _put(parent, field, number, node)


def _places(tree: ast.Module) -> list[tuple[ast.AST, str, int | None, ast.AST]]:
    """Every node where it hangs, but for annotations, decorators, imports and docstrings."""
    places = []
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            if field in {"annotation", "returns", "decorator_list", "names", "bases"}:
                continue
            children = list(enumerate(value)) if isinstance(value, list) else [(None, value)]
            places += [(parent, field, number, child) for number, child in children if isinstance(child, ast.AST)]
    skipped = {id(inner) for *_, node in places if _is_docstring(node) for inner in ast.walk(node)}
    skipped |= {id(inner) for node in ast.walk(tree) for inner in _annotations(node)}
    return [place for place in places if id(place[3]) not in skipped]


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _annotations(node: ast.AST) -> Iterator[ast.AST]:
    for field in ("annotation", "returns"):
        if isinstance(found := getattr(node, field, None), ast.AST):
            yield from ast.walk(found)
    for decorator in getattr(node, "decorator_list", ()):
        yield from ast.walk(decorator)


def _put(parent: ast.AST, field: str, number: int | None, node: ast.AST) -> None:
    if number is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[number] = node


def _line(node: ast.AST) -> int:
    return next((inner.lineno for inner in ast.walk(node) if hasattr(inner, "lineno")), 0)


def _short(node: ast.AST) -> str:
    text = ast.unparse(ast.fix_missing_locations(copy.deepcopy(node))).strip().splitlines()[0]
    return textwrap.shorten(text, 100, placeholder=" ...")


def passes(module: str, tree: ast.Module, test: str) -> bool:
    """Whether a test file passes with this tree for the module, in a child process of its own."""
    if child := os.fork():
        return os.waitpid(child, 0)[1] == 0
    code = 1
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT_S, CPU_LIMIT_S))
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        code = _run(module, tree, test)
    finally:
        os._exit(code)


def _run(module: str, tree: ast.Module, test: str) -> int:
    import pytest  # noqa: PLC0415 - loaded by the parent before it forks

    name = module.removesuffix(".py").replace("/", ".")
    broken = types.ModuleType(name)
    broken.__file__ = str(ROOT / module)
    sys.modules[name] = broken
    setattr(sys.modules[name.rpartition(".")[0]], name.rpartition(".")[2], broken)
    exec(compile(tree, module, "exec"), broken.__dict__)  # noqa: S102 - our own module, with one change
    return int(pytest.main([*PYTEST, str(ROOT / test)]))


def main() -> int:
    """Print the survivors, and how many there were of how many."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("module", nargs="?", help="only this one")
    parser.add_argument("tests", nargs="*")
    parser.add_argument("--list", action="store_true", help="print every mutant, killed or not, and by which file")
    parser.add_argument("--tables", action="store_true", help="with the tables that take longer")
    parser.add_argument("--long", action="store_true", help="break whole modules, not only their tables")
    asked = parser.parse_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    _load()
    skipped = set() if asked.tables or asked.long else SLOW
    wanted = {module: tests for module, tests in TESTS.items() if module not in skipped}
    if asked.module:
        wanted = {asked.module: asked.tests or TESTS[asked.module]}
    return max(
        _try(module, tests, tables_only=not (asked.long or asked.module or module == INTERLOCK), every=asked.list)
        for module, tests in wanted.items()
    )


def _try(module: str, tests: list[str], *, tables_only: bool, every: bool) -> int:
    tree = ast.parse((ROOT / module).read_text("utf-8"))
    if not all(passes(module, tree, test) for test in tests):
        print(f"{module}: the tests do not pass without a mutation: nothing was tried")
        return 2
    survivors, total = [], 0
    for name, mutant in mutants(tree, tables_only=tables_only):
        total += 1
        killer = next((test for test in tests if not passes(module, mutant, test)), None)
        if killer is None:
            survivors.append(name)
        if every or killer is None:
            print(f"{killer or 'SURVIVED'}  {name}", flush=True)
    return _report(f"{module}{', its tables' if tables_only else ''}", survivors, total)


def _load() -> None:
    """What every child needs, once; a fork then costs next to nothing."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    import hypothesis.stateful  # noqa: PLC0415
    import pytest  # noqa: PLC0415

    import tests.builders  # noqa: F401, PLC0415

    hypothesis.settings.register_profile("mutation", derandomize=True, database=None)
    hypothesis.settings.load_profile("mutation")
    with contextlib.redirect_stdout(io.StringIO()):
        pytest.main([*PYTEST, "--collect-only", "--ignore-glob=*", str(ROOT / "scripts")])
    gc.freeze()


def _report(module: str, survivors: list[str], total: int) -> int:
    bad = [name for name in survivors if name not in EQUIVALENT]
    for name in set(survivors) - set(bad):
        print(f"equivalent: {name} ({EQUIVALENT[name]})")
    spent = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(f"{module}: {total} mutants, {total - len(survivors)} killed, {len(survivors)} survived", end="; ")
    print(f"{spent:.0f} s of CPU, Python {sys.version_info.major}.{sys.version_info.minor}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

"""Which room may use which: the layering that keeps every part readable alone, checked on the imports themselves."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = {'train', 'val', 'detect', 'export', 'hubconf'}
ROOMS = ('models', 'utils', 'benchmarks', 'tools', 'examples')
LEAVES = {
    'utils.errors',
    'utils.paths',
    'utils.log',
    'utils.cgroups',
    'utils.cpu',
    'utils.memory',
    'utils.shared_arrays',
    'utils.terminal',
    'utils.text',
    'utils.yaml_text',
}  # anyone may use these
NETWORK_MAY_USE = LEAVES | {'utils.boxes', 'utils.nms', 'utils.imgsz'}
# Around the network: what opens weights of any kind, and what takes anything like a picture and gives results.
AROUND = {'models.backend', 'models.weights', 'models.autoshape', 'models.detections'}
MAY_IMPORT = {
    'benchmarks.shares': {'val'},
    'train': {'val'},
    'tools.demo': {'train', 'val', 'detect'},
    'benchmarks.formats': {'val', 'export'},
}


def modules() -> dict[str, Path]:
    files = [ROOT / f'{name}.py' for name in SCRIPTS] + [p for room in ROOMS for p in (ROOT / room).rglob('*.py')]
    names = {p.relative_to(ROOT).with_suffix('').as_posix().replace('/', '.'): p for p in files if p.is_file()}
    return {name.removesuffix('.__init__'): path for name, path in names.items()}


MODULES = modules()


def imports(name: str, at_start_only: bool = False) -> set[str]:
    """The project's modules that a module imports; with `at_start_only` those it needs before it can be imported."""
    found = set()
    for node in _nodes(ast.parse(MODULES[name].read_text()), at_start_only):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f'{name}: relative import'
            assert node.names[0].name != '*', f'{name}: star import'
            found |= {node.module} | {f'{node.module}.{alias.name}' for alias in node.names}
    return found & set(MODULES)


def _nodes(tree: ast.AST, at_start_only: bool):
    for node in ast.iter_child_nodes(tree):
        yield node
        skipped = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or _is_type_checking(node)
        if not (at_start_only and skipped):
            yield from _nodes(node, at_start_only)


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == 'TYPE_CHECKING'


@pytest.mark.parametrize('name', sorted(MODULES))
def test_doors(name):
    used = imports(name) - {name}
    scripts = {module for module in used if module in SCRIPTS}
    assert scripts <= MAY_IMPORT.get(name, set()), f'{name} imports a script'
    if name.startswith('models') and name not in AROUND | {'models.yolo'}:
        assert {m for m in used if m.startswith('utils.')} <= NETWORK_MAY_USE
        assert not used & AROUND, 'the network knows nothing of what is around it'
    if name.startswith('utils.data'):
        assert not {m for m in used if m.startswith('models')}, 'the data path knows nothing of models'
    if name.startswith('utils'):
        assert not {m for m in used if m.startswith(('benchmarks', 'tools'))}
    if name in LEAVES:
        assert {m for m in used if m.startswith(('utils.', 'models'))} <= LEAVES


def test_no_cycles():
    graph = {name: imports(name, at_start_only=True) - {name} for name in MODULES}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, ' -> '.join([*above, name])
        if name not in done:
            for other in graph[name]:
                visit(other, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())


FORBIDDEN = {'eval', 'exec', 'compile', '__import__'}
MOST_LINES = 399  # of a file


@pytest.mark.parametrize('name', sorted(MODULES))
def test_manners(name):
    """No eval or exec, no bare except, no shared mutable default, functions that fit a screen, no long file."""
    source = MODULES[name].read_text()
    assert len(source.splitlines()) <= MOST_LINES, f'{name}: give a part of it a module of its own'
    for node in ast.walk(ast.parse(source)):
        where = f'{name}:{getattr(node, "lineno", 0)}'
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in FORBIDDEN, f'{where}: {node.func.id}()'
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f'{where}: bare except'
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno - node.lineno < 60, f'{where}: {node.name} is too long'
            defaults = node.args.defaults + node.args.kw_defaults
            assert not any(isinstance(d, (ast.List, ast.Dict, ast.Set, ast.Call)) for d in defaults), where


def test_importing_does_nothing():
    """Importing every module prints nothing, starts no thread, and leaves environment and sys.path alone."""
    code = f"""
import importlib, os, sys, threading
import oneflow, matplotlib, cv2
before = dict(os.environ), list(sys.path), threading.active_count()
for name in {sorted(MODULES)!r}:
    importlib.import_module(name)
assert before == (dict(os.environ), list(sys.path), threading.active_count())
assert 'matplotlib.pyplot' not in sys.modules
"""
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')


@pytest.mark.parametrize('script', sorted(SCRIPTS & set(MODULES)))
def test_a_script_starts_without_the_heavy_libraries(script):
    """`--help` and a wrong option answer at once: OneFlow and friends are imported when the work starts."""
    heavy = {'oneflow', 'cv2', 'matplotlib', 'pandas', 'scipy', 'tensorboard'}
    code = f'import sys, {script}; print(*({heavy!r} & set(sys.modules)))'
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ('', '')

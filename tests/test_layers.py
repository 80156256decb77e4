"""The order of the house: which part of the package may import which."""

import ast
from pathlib import Path

import dcvit

root = Path(dcvit.__file__).parent
floors = [
    'base',
    'model',
    'images',
    'paper',
    'ship',
    'search',
    'baselines',
    'recipes',
    'inputs',
    'report',
    'onepage',
    'pipeline',
    'dense',
    'cli',
]
apart = {
    ('paper', 'ship'),
    ('ship', 'paper'),
    ('search', 'ship'),
    ('baselines', 'ship'),
    ('recipes', 'ship'),
}


def imported(path):
    "Modules of the package that a file imports, as tuples of names"
    package = ('dcvit', *path.relative_to(root).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            name = (*base, *(node.module or '').split('.'))
            if name[0] == 'dcvit' and len(name) > 1:
                yield name[1:]


def files():
    return [p for p in root.rglob('*.py') if not p.name.startswith('_')]


def test_a_lower_floor_never_imports_from_a_higher_one():
    for path in files():
        here = path.relative_to(root).with_suffix('').parts[0]
        for name in imported(path):
            there = name[0]
            what = f'{path.relative_to(root)} imports {name}'
            assert floors.index(there) <= floors.index(here), what
            assert (here, there) not in apart, what


def test_no_import_circles():
    graph = {}
    for path in files():
        graph[path.relative_to(root).with_suffix('').parts] = {*imported(path)}
    done, on_the_way = set(), []

    def visit(module):
        assert module not in on_the_way, [*on_the_way, module]
        if module in done or module not in graph:
            return
        on_the_way.append(module)
        for other in graph[module]:
            visit(other)
        done.add(on_the_way.pop())

    for module in graph:
        visit(module)


def test_modules_are_short():
    long = {p.name: n for p in files() if (n := len(p.read_text().splitlines())) > 250}
    assert long == {}


def test_functions_do_not_shadow_modules():
    names = {p.stem for p in root.iterdir() if p.suffix == '.py' or p.is_dir()}
    assert not names & {'compress', 'family', 'load', 'load_teacher', 'load_family', 'few_shot'}

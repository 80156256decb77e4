"API entries of the site: name, summary, signature, and a table of the parameters"

import importlib
import inspect
import re
import sys
from dataclasses import is_dataclass
from functools import cached_property
from textwrap import fill

from fastcore.docments import docments
from nbformat.v4 import new_markdown_cell as markdown

# What nbdev's `show_doc` writes: a link to the source, the name as a heading, the signature, the summary
written = re.compile(
    r'\[source\]\((?P<url>[^)]*)\)\s+(?P<level>#+) (?P<name>[\w.]+)\n+```python\n.*?\n```\s*(?P<summary>.*)',
    re.S,
)
folded = '<details class="signature"><summary>signature</summary>\n\n{}\n\n</details>'
columns = '| parameter | type | default | meaning |\n| --- | --- | --- | --- |'


class Argument:
    "A parameter that a user may give"

    def __init__(self, parameter, meaning):
        self.parameter = parameter
        self.meaning = meaning

    @property
    def type(self):
        return as_written(self.parameter.annotation)

    @property
    def default(self):
        "As it is written in a call"
        value = self.parameter.default
        if value is inspect.Parameter.empty:
            return ''
        return '...' if '<factory>' in repr(value) else repr(value)

    def in_signature(self, typed):
        p = self.parameter
        star = {p.VAR_POSITIONAL: '*', p.VAR_KEYWORD: '**'}.get(p.kind, '')
        type_ = f': {self.type}' if typed and self.type else ''
        value = f'={self.default}' if self.default else ''
        return f'{star}{p.name}{type_}{value}'

    def in_table(self):
        code = [f'`{x}`' if x else '' for x in (self.parameter.name, self.type, self.default)]
        return '| ' + ' | '.join(x.replace('|', r'\|') for x in [*code, self.meaning]) + ' |'


def as_written(annotation):
    "A type as it is written in the code"
    if annotation is inspect.Parameter.empty:
        return ''
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r'\s+', ' ', text)


def comments(found):
    "`{parameter: its comment}`, for a dataclass with those of its bases"
    bases = [c for c in found.__mro__ if is_dataclass(c)] if is_dataclass(found) else [found]
    said = {}
    for base in reversed(bases):
        said |= {name: text for name, text in docments(base).items() if text}
    return said


class Symbol:
    "A function or class, and the name under which users know it"

    def __init__(self, url, name):
        self.name = name
        module = re.search(r'/blob/[^/]+/([\w/]+)\.py', url)[1].replace('/', '.')
        found = importlib.import_module(module)
        if not hasattr(found, name.split('.')[0]):
            found = importlib.import_module(module.split('.')[0])
        for part in name.split('.'):
            found = getattr(found, part)
        self.found = found

    @cached_property
    def signature(self):
        "Its signature, that of a method without the object"
        try:
            whole = inspect.signature(self.found)
        except ValueError:  # an exception's is C code
            return inspect.Signature()
        every = list(whole.parameters.values())
        is_method = inspect.isfunction(self.found) and '.' in self.name
        public = [p for p in every[is_method:] if not p.name.startswith('_')]
        return whole.replace(parameters=public)

    @cached_property
    def arguments(self):
        said = comments(self.found)
        every = [Argument(p, said.get(p.name, '')) for p in self.signature.parameters.values()]
        if every and every[-1].parameter.kind is inspect.Parameter.VAR_KEYWORD:
            # fastcore takes a comment on a last `**more` for one on what is returned
            every[-1].meaning = every[-1].meaning or said.get('return', '')
        return every

    @property
    def is_explained(self):
        return any(a.meaning for a in self.arguments)

    @property
    def gaps(self):
        "Parameters of which nothing is said"
        return [a.parameter.name for a in self.arguments if not a.meaning]

    def call(self):
        "A call with all parameters, and what it returns"
        words = [a.in_signature(typed=not self.is_explained) for a in self.arguments]
        by_name = [a.parameter.kind is inspect.Parameter.KEYWORD_ONLY for a in self.arguments]
        if any(by_name):
            words.insert(by_name.index(True), '*')
        returns = as_written(self.signature.return_annotation)
        returns = f' -> {returns}' if returns and not inspect.isclass(self.found) else ''
        one = f'{self.name}({", ".join(words)}){returns}'
        if len(one) <= 88:
            return one
        inside = fill(', '.join(words), 84, initial_indent='    ', subsequent_indent='    ')
        return f'{self.name}(\n{inside}\n){returns}'

    def details(self):
        "Signature, and the table where the code says what parameters mean"
        code = f'```python\n{self.call()}\n```'
        rows = [a.in_table() for a in self.arguments]
        return '\n'.join([code, '', columns, *rows]) if self.is_explained else code


class Entry:
    "An API entry that nbdev has written"

    def __init__(self, cell):
        text = ''.join(
            ''.join(o.data.get('text/markdown', '')) for o in cell.outputs if 'data' in o
        )
        text = re.sub(r'\{target="_blank"[^}]*\}|#LNone', '', text)
        found = written.search(text)
        self.url, self.name, self.level = found['url'], found['name'], found['level']
        self.summary = found['summary'].strip()
        self.symbol = Symbol(self.url, self.name)

    @property
    def link(self):
        "A link to it from its page"
        return f'[`{self.name}`](#{self.name.lower()})'

    def cell(self, is_open):
        "As a Markdown cell, the signature open or folded"
        inside = self.symbol.details()
        head = f'{self.level} `{self.name}`\n\n{self.summary} [source]({self.url})'
        return markdown(f'{head}\n\n{inside if is_open else folded.format(inside)}')


def is_entry(cell):
    "Whether a cell is an API entry"
    return cell.cell_type == 'code' and 'show_doc(' in cell.source


def short(main, helpers):
    "What a page is about"
    beside = f'\n\nBeside it: {", ".join(e.link for e in helpers)}.' if helpers else ''
    return markdown(f'{main.link}: {main.summary}{beside}')


def written_out(cells):
    "The API entries among the cells of a page, by place"
    return {i: Entry(cell) for i, cell in enumerate(cells) if is_entry(cell)}


def place_of_main(entries, page, named):
    "Place of the entry that a page is about: as its front matter says, else called like the page, else the last"
    wanted = named or page.rpartition('/')[2]
    alike = {i: e.name for i, e in entries.items() if e.name.lower() == wanted.lower()}
    if named and not alike:
        sys.exit(f'{page} has no entry {named}')
    exact = [i for i, name in alike.items() if name == wanted]
    return [max(entries), *alike, *exact][-1]


def as_essay(cells, page, named=None):
    "A page with its API entries written out: the main one open and named at the top, helpers folded"
    entries = written_out(cells)
    if not entries:
        return cells
    main = place_of_main(entries, page, named)
    helpers = [e for i, e in entries.items() if i != main]
    out = [entries[i].cell(i == main) if i in entries else cell for i, cell in enumerate(cells)]
    return [out[0], short(entries[main], helpers), *out[1:]]


def as_reference(cells):
    "A page with its API entries written out in full; exits where a parameter has no meaning"
    entries = written_out(cells)
    gaps = {e.name: e.symbol.gaps for e in entries.values() if e.symbol.gaps}
    if gaps:
        sys.exit(f'parameters without a meaning: {gaps}')
    return [entries[i].cell(True) if i in entries else cell for i, cell in enumerate(cells)]

"""Work on all notebooks at once: run them, check that they are executed, make the README.

python tools/nb.py execute [NAME ...] | check | readme          # NAME such as paper/trial
"""

import ast
import os
import re
import shutil
import sys
from pathlib import Path

import nbformat
import yaml

root = Path(__file__).resolve().parent.parent
nbs, docs = root / 'nbs', root / '_docs'
not_run = re.compile(r'^#\|\s*eval:\s*false', re.M)
hidden = re.compile(r'^#\|\s*(hide|export)', re.M)
without_source = re.compile(r'^#\|\s*echo:\s*false', re.M)


def name_of(path):
    "`paper/trial` of a notebook's path"
    return path.relative_to(nbs).with_suffix('').as_posix()


def website():
    "What the site is called, where it is published, and its sections"
    return yaml.safe_load((root / '_quarto.yml').read_text())['website']


def rendered():
    "Pages of the site that was made last"
    return sorted(p for p in docs.rglob('*.html') if '_static' not in p.parts)


def notebooks():
    "All notebooks, in the order of the folders"
    return sorted(p for p in nbs.rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts)


# run


def execute(*names):
    "Run notebooks in place, each in its own folder; cells marked `eval: false` keep what they have"
    from nbclient import NotebookClient

    os.environ['IN_TEST'] = '1'  # as nbdev_test does: the last cell of a page exports nothing

    class Client(NotebookClient):
        async def async_execute_cell(self, cell, cell_index, **kw):
            if cell.cell_type == 'code' and not_run.search(cell.source):
                return cell
            return await super().async_execute_cell(cell, cell_index, **kw)

    for path in notebooks():
        if names and name_of(path) not in names:
            continue
        nb = nbformat.read(path, 4)
        print(name_of(path), flush=True)
        where = dict(metadata=dict(path=str(path.parent)))
        Client(nb, timeout=1200, kernel_name='python3', resources=where).execute()
        nbformat.write(nb, path)


# check

shows_by_name = ('plt.', 'print(', '.figure(', 'ax.', 'draw(')
table_methods = {
    'agg', 'astype', 'describe', 'format', 'head', 'mean', 'pivot', 'reindex', 'rename_axis', 'round',
    'set_index', 'sort_index', 'to_frame', 'unstack',
}  # fmt: skip


def is_shown(value):
    "Whether an expression at the end of a cell is something to look at"
    if not isinstance(value, ast.Call):
        return True
    method = getattr(value.func, 'attr', None)
    return 'DataFrame' in ast.unparse(value) or method in table_methods


def shows(cell):
    "Whether a code cell ends in something that is displayed"
    lines = [line for line in cell.source.split('\n') if not line.startswith(('#|', '%', '!'))]
    source = '\n'.join(lines)
    drawn = any(word in source for word in ('plt', 'ax', 'fig'))
    if source.rstrip().endswith(';') and not drawn:
        return False
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return False
    if not body or isinstance(body[-1], ast.FunctionDef | ast.ClassDef):
        return False
    last = body[-1]
    shown = isinstance(last, ast.Expr) and is_shown(last.value)
    return shown or any(word in source for word in shows_by_name)


def complaint(cell):
    "What is wrong with a code cell, or None"
    if any(o.output_type == 'error' for o in cell.outputs):
        return 'an error output'
    skipped = not_run.search(cell.source) or hidden.search(cell.source)
    if not skipped and shows(cell) and not cell.outputs:
        return f'no output: {cell.source.splitlines()[0][:60]}'
    return None


def check():
    "Every cell that shows something has an output, and none is an error"
    bad = []
    for path in notebooks():
        for i, cell in enumerate(nbformat.read(path, 4).cells):
            why = complaint(cell) if cell.cell_type == 'code' else None
            if why:
                bad.append(f'{name_of(path)} cell {i}: {why}')
    if bad:
        sys.exit('not executed:\n' + '\n'.join(bad))
    print(f'{len(notebooks())} notebooks executed')


# README


def processed():
    "Folder of the notebooks as nbdev prepares them for rendering (hidden cells removed, docs inserted)"
    from nbdev.serve import proc_nbs

    made = root / '_proc'
    stamp = made / '.stamp'
    sources = [*nbs.rglob('*.ipynb'), root / 'settings.ini', root / '_quarto.yml']
    newest = max(path.stat().st_mtime for path in sources)
    if not stamp.exists() or stamp.stat().st_mtime < newest:
        shutil.rmtree(made, ignore_errors=True)
        made = Path(proc_nbs(str(nbs)))
        stamp.touch()
    return made


def front_title(nb):
    "Turn the raw front-matter cell into a Markdown title; returns what it says"
    cell = nb.cells[0]
    if cell.cell_type != 'raw':
        return {}
    meta = yaml.safe_load(cell.source.strip().strip('-')) or {}
    text = f'# {meta.get("title", "")}\n'
    if meta.get('description'):
        text += f'\n> {meta["description"]}\n'
    nb.cells[0] = nbformat.v4.new_markdown_cell(text)
    return meta


def hide_source(cell):
    "Tag a cell that asks not to be shown, only what it shows"
    if without_source.search(cell.source):
        cell.metadata.setdefault('tags', []).append('remove-input')


def caption(cell):
    "What a cell says of its figure, which is also what screen readers say; '' if nothing"
    found = re.search(r'^#\|\s*fig-cap:\s*>\n((#\|.*\n)+)', cell.source, re.M)
    lines = found[1].splitlines() if found else []
    return ' '.join(line.removeprefix('#|').strip() for line in lines)


def draws(cell):
    "Whether a cell shows a figure"
    return any('image/png' in o.get('data', {}) for o in cell.get('outputs', []))


def described(text, captions):
    "Markdown with the captions of its figures in place of their file type"
    every = iter(captions)
    return re.sub(r'!\[png\]', lambda _: f'![{next(every)}]', text)


def links_to_notebooks(text):
    "Links between notebooks as links from the README"
    return re.sub(r'\]\(([\w/]+)\.ipynb\)', r'](nbs/\1.ipynb)', text)


def readme():
    "README.md from the index notebook"
    from nbconvert import MarkdownExporter
    from traitlets.config import Config

    nb = nbformat.read(processed() / 'index.ipynb', 4)
    front_title(nb)
    nb.metadata['language_info'] = dict(name='python')
    captions = [caption(cell) for cell in nb.cells if draws(cell)]
    for cell in nb.cells:
        hide_source(cell)
        cell.source = re.sub(r'^(#\||<!-- WARNING).*\n?', '', cell.source, flags=re.M)
    nb.cells = [cell for cell in nb.cells if cell.source.strip()]
    where = dict(output_files_dir='index_files')
    tags = Config(TagRemovePreprocessor=dict(enabled=True, remove_input_tags={'remove-input'}))
    text, made = MarkdownExporter(config=tags).from_notebook_node(nb, resources=where)
    shutil.rmtree(root / 'index_files', ignore_errors=True)
    for name, data in made['outputs'].items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(data)
    text = re.sub(r'\n{3,}', '\n\n', links_to_notebooks(text)).strip()
    text = described(text, captions)
    (root / 'README.md').write_text(f'<!-- made from nbs/index.ipynb; edit that -->\n\n{text}\n')


if __name__ == '__main__':
    commands = dict(execute=execute, check=check, readme=readme)
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    commands[sys.argv[1]](*sys.argv[2:])

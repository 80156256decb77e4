"""Work on all notebooks at once: run them, check that they are executed, render README and site without Quarto.

python tools/nb.py execute [NAME ...] | check | readme | site
"""
import json, re, shutil, subprocess, sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlparse

import nbformat, yaml

root = Path(__file__).resolve().parent.parent
nbs, docs, work = root/'nbs', root/'_docs', root/'_site'
skip = re.compile(r'^#\|\s*eval:\s*false', re.M)

def notebooks(): return sorted(nbs.glob('*.ipynb'))

# run

def execute(*names):
    "Run notebooks in place; cells marked `eval: false` keep what they have"
    from nbclient import NotebookClient
    class Client(NotebookClient):
        async def async_execute_cell(self, cell, cell_index, **kw):
            if cell.cell_type=='code' and skip.search(cell.source): return cell
            return await super().async_execute_cell(cell, cell_index, **kw)
    for p in notebooks():
        if names and p.stem not in names: continue
        nb = nbformat.read(p, 4)
        print(p.name, flush=True)
        Client(nb, timeout=1200, kernel_name='python3', resources=dict(metadata=dict(path=str(nbs)))).execute()
        nbformat.write(nb, p)

# check

tables = {'agg', 'astype', 'format', 'head', 'pivot', 'reindex', 'rename_axis', 'round', 'set_index', 'sort_index', 'unstack'} # methods whose result is a table to look at

def shows(cell):
    "Whether a code cell ends in something that is displayed"
    import ast
    src = '\n'.join(l for l in cell.source.split('\n') if not l.startswith(('#|','%','!')))
    if cell.source.rstrip().endswith(';') and 'plt' not in src and 'ax' not in src and 'fig' not in src: return False
    try: last = ast.parse(src).body[-1:]
    except SyntaxError: return False
    if not last: return False
    v = last[0].value if isinstance(last[0], ast.Expr) else None
    value = v is not None and (not isinstance(v, ast.Call) or 'DataFrame' in ast.unparse(v) or getattr(v.func, 'attr', None) in tables)
    return value or any(w in src for w in ('plt.','print(','.figure(','ax.','draw('))

def check():
    "Every cell that shows something has an output, and none is an error"
    bad = []
    for p in notebooks():
        for i,c in enumerate(nbformat.read(p, 4).cells):
            if c.cell_type!='code' or skip.search(c.source) or re.search(r'^#\|\s*(hide|export)', c.source, re.M): continue
            if any(o.output_type=='error' for o in c.outputs): bad.append(f'{p.name} cell {i}: an error output')
            elif shows(c) and not c.outputs and not c.source.lstrip().startswith('def '): bad.append(f'{p.name} cell {i}: no output: {c.source.splitlines()[0][:60]}')
    if bad: sys.exit('not executed:\n'+'\n'.join(bad))
    print(f'{len(notebooks())} notebooks executed')

# README

def processed():
    "Notebooks as nbdev prepares them for rendering (hidden cells removed, docs inserted)"
    from nbdev.serve import proc_nbs
    shutil.rmtree(root/'_proc', ignore_errors=True)
    return Path(proc_nbs(str(nbs)))

def front_title(nb):
    "Turn the raw front-matter cell into a Markdown title"
    c = nb.cells[0]
    if c.cell_type!='raw': return
    meta = yaml.safe_load(c.source.strip().strip('-')) or {}
    text = f"# {meta.get('title','')}\n" + (f"\n> {meta['description']}\n" if meta.get('description') else '')
    nb.cells[0] = nbformat.v4.new_markdown_cell(text)

def readme():
    "README.md from the index notebook"
    from nbconvert import MarkdownExporter
    nb = nbformat.read(processed()/'index.ipynb', 4)
    front_title(nb)
    nb.metadata['language_info'] = dict(name='python')
    for c in nb.cells: c.source = re.sub(r'^(#\||<!-- WARNING).*\n?', '', c.source, flags=re.M)
    nb.cells = [c for c in nb.cells if c.source.strip()]
    text,res = MarkdownExporter().from_notebook_node(nb, resources=dict(output_files_dir='index_files'))
    shutil.rmtree(root/'index_files', ignore_errors=True)
    for name,data in res['outputs'].items(): (root/name).parent.mkdir(exist_ok=True); (root/name).write_bytes(data)
    text = re.sub(r'\]\(([\w]+)\.ipynb\)', r'](nbs/\1.ipynb)', text)
    (root/'README.md').write_text('<!-- made from nbs/index.ipynb; edit that -->\n\n' + re.sub(r'\n{3,}', '\n\n', text).strip() + '\n')

# site

conf = '''
project = {title!r}
copyright = "2026 onwards, dcvit contributors"
extensions = ["myst_nb"]
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 5
html_theme = "pydata_sphinx_theme"
html_title = {title!r}
html_theme_options = dict(github_url={repo!r}, show_prev_next=True, navbar_center=[], secondary_sidebar_items=["page-toc"])
html_sidebars = {{"**": ["globaltoc"]}}
html_math_renderer = "mathml"
html_show_sourcelink = True
html_context = dict(default_mode="light")
html_css_files = ["site.css"]
html_static_path = ["_static"]
suppress_warnings = ["mystnb.unknown_mime_type", "myst.header"]

# Formulas as MathML, which browsers draw themselves: no script, no network
from latex2mathml.converter import convert
def inline(self, node): self.body.append('<span class="math">' + convert(node.astext()) + '</span>'); raise nodes.SkipNode
def block(self, node): self.body.append('<div class="math">' + convert(node.astext(), display="block") + '</div>'); raise nodes.SkipNode
from docutils import nodes
def setup(app): app.add_html_math_renderer("mathml", (inline, None), (block, None))
'''
css = '''.bd-sidebar-primary ul ul{display:none} .bd-article h3{font-size:1.2rem;margin-top:1.5rem} .bd-main .bd-content .bd-article-container{max-width:56rem} .cell_output img{max-width:100%;height:auto} table.dataframe{font-size:.85rem}
div.cell div.cell_input{border-left:3px solid #4C72B0} blockquote{border-left:0;padding-left:0;font-size:1.15rem;background:none} .bd-sidebar-primary ul{list-style:none;padding-left:.5rem} .bd-sidebar-primary li{margin:.25rem 0} .bd-sidebar-primary h3{display:none} div.math{margin:1rem 0;font-size:1.1rem;overflow-x:auto}'''

def short(stem):
    name = re.sub(r'^\d+[a-z]?_', '', stem)
    return f'structure_{name}' if name=='search' else name # Sphinx has a search.html of its own

def local(text, host):
    "Links to the published site and to numbered notebooks, as links between the pages made here"
    text = text.replace('/search.html', '/structure_search.html')
    text = re.sub(r'\]\((\d+[a-z]?_\w+)\.ipynb', lambda m: f']({short(m[1])}.ipynb', text)
    plain = lambda m: re.sub(r'\[`([^`]+)`\]\([^)]*\)', r'\1', m[0])
    text = re.sub(r'```python.*?```', plain, text, flags=re.S)
    return re.sub(re.escape(host)+r'/(\w+)\.html', r'\1.ipynb', text)

def entry(cell):
    "nbdev's API entry (Markdown made by `show_doc`) as a Markdown cell, so that its heading is one of the page's"
    text = ''.join(''.join(o.data.get('text/markdown', '')) for o in cell.outputs if 'data' in o)
    return nbformat.v4.new_markdown_cell(re.sub(r'^---\s+', '', re.sub(r'\{target="_blank"[^}]*\}', '', text)))

def adapt(nb, host):
    "What nbdev writes for Quarto, in words that MyST-NB knows"
    front_title(nb)
    nb.cells = [entry(c) if c.cell_type=='code' and 'show_doc(' in c.source else c for c in nb.cells]
    for c in nb.cells:
        if c.cell_type=='markdown': c.source = local(c.source, host)
        if c.cell_type=='code':
            if re.search(r'^#\|\s*echo:\s*false', c.source, re.M): c.metadata.setdefault('tags', []).append('remove-input')
            c.source = re.sub(r'^#\|.*\n?', '', c.source, flags=re.M)
            c.outputs = [o for o in c.outputs if 'application/vnd.jupyter.widget-view+json' not in o.get('data', {}) and o.get('name')!='stderr']

class Links(HTMLParser):
    def __init__(self): super().__init__(); self.found,self.ids,self.images = [],set(),0
    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if 'id' in a: self.ids.add(a['id'])
        if tag=='img': self.images += 1
        for k in ('href','src'):
            if a.get(k): self.found.append(a[k])

def broken():
    "Links inside the site that lead nowhere, and the number of pages and images"
    pages = {p.resolve(): Links() for p in docs.rglob('*.html') if '_static' not in p.parts}
    for p,l in pages.items(): l.feed(p.read_text())
    bad = []
    for p,l in pages.items():
        for u in l.found:
            u = urlparse(u)
            if u.scheme or u.netloc or not (u.path or u.fragment): continue
            t = (p.parent/unquote(u.path)).resolve() if u.path else p
            if t.is_dir(): t = t/'index.html'
            if not t.exists(): bad.append(f'{p.name}: {u.path}')
            elif u.fragment and t in pages and u.fragment not in pages[t].ids: bad.append(f'{p.name}: {u.path}#{u.fragment}')
    return sorted(set(bad)), len(pages), sum(l.images for l in pages.values())

def site():
    "Render the processed notebooks with Sphinx and MyST-NB, and check the result"
    cfg = yaml.safe_load((root/'_quarto.yml').read_text())['website']
    src,host = processed(), cfg['site-url']
    shutil.rmtree(work, ignore_errors=True); shutil.rmtree(docs, ignore_errors=True); (work/'_static').mkdir(parents=True)
    (work/'_static'/'site.css').write_text(css)
    names = [p.stem for p in notebooks() if p.stem!='index']
    figures = 0
    for stem in ['index',*names]:
        nb = nbformat.read(src/f'{stem}.ipynb', 4)
        adapt(nb, host)
        figures += sum('image/png' in o.get('data', {}) for c in nb.cells if c.cell_type=='code' for o in c.outputs)
        if stem=='index': nb.cells.append(nbformat.v4.new_markdown_cell('```{toctree}\n:hidden:\n' + '\n'.join(map(short, names)) + '\n```'))
        nbformat.write(nb, work/f'{short(stem)}.ipynb')
    for d in src.iterdir():
        if d.is_dir() and d.name=='images': shutil.copytree(d, work/d.name)
    (work/'conf.py').write_text(conf.format(title=cfg['title'], repo=cfg['repo-url']))
    subprocess.run([sys.executable,'-m','sphinx','-q','-b','html',work,docs], check=True)
    bad,pages,images = broken()
    missing = [n for n in names if not (docs/f'{short(n)}.html').exists()]
    if bad or missing or images<figures: sys.exit(f'site is not whole: {images} of {figures} figures, missing pages {missing}, broken links:\n'+'\n'.join(bad))
    math = sum(p.read_text().count('class="math') for p in docs.rglob('*.html'))
    print(f'{pages} pages, {images} images, {math} formulas, no broken internal link: _docs/index.html')

if __name__=='__main__':
    cmd = dict(execute=execute, check=check, readme=readme, site=site)
    if len(sys.argv)<2 or sys.argv[1] not in cmd: sys.exit(__doc__)
    cmd[sys.argv[1]](*sys.argv[2:])

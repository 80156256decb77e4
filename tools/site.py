"""Render the notebooks into _docs with Sphinx and MyST-NB, where Quarto is not installed, and check the result.

python tools/site.py
"""

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlparse

import nbformat
from api import as_essay, as_reference
from nb import (
    caption,
    docs,
    draws,
    front_title,
    hide_source,
    name_of,
    nbs,
    notebooks,
    processed,
    rendered,
    root,
    website,
)

work = root / '_site'

conf = '''
from docutils import nodes
from latex2mathml.converter import convert

project = {title!r}
copyright = "2026 onwards, dcvit contributors"
extensions = ["myst_nb", "sphinx_copybutton"]
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 5
html_theme = "pydata_sphinx_theme"
html_title = {title!r}
html_theme_options = dict(
    github_url={repo!r}, show_prev_next=True, navbar_center=[], secondary_sidebar_items=["page-toc"]
)
html_sidebars = {{"**": ["globaltoc"]}}
html_math_renderer = "mathml"
html_show_sourcelink = True
html_context = dict(default_mode="light")
html_css_files = ["site.css"]
html_static_path = ["_static"]
html_favicon = "_static/favicon.svg"
copybutton_selector = "div.cell_input pre, div[class*=highlight-sh] pre, div[class*=highlight-python] pre"
myst_html_meta = {{
    "description": {about!r},
    "property=og:title": {title!r},
    "property=og:description": {about!r},
    "property=og:image": "{host}/_static/card.png",
}}
suppress_warnings = ["mystnb.unknown_mime_type", "myst.header"]


# Formulas as MathML, which browsers draw themselves: no script, no network
def inline(self, node):
    self.body.append('<span class="math">' + convert(node.astext()) + "</span>")
    raise nodes.SkipNode


def block(self, node):
    drawn = convert(node.astext(), display="block")
    self.body.append('<div class="math">' + drawn + "</div>")
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
'''
css = '''
.bd-article h3 {font-size: 1.2rem; margin-top: 1.5rem}
.bd-article :is(h2, h3, h4):has(> code) {font-size: 1.1rem; margin-top: 1.5rem}
.bd-page-width {max-width: 96rem}
.bd-sidebar-primary {flex: 0 0 13rem}
.bd-sidebar-secondary {width: 11.5rem}
.bd-main .bd-content .bd-article-container {max-width: 62rem}
.cell_output img {max-width: 100%; height: auto}
.bd-article pre {white-space: pre-wrap; overflow-wrap: anywhere; font-size: .82rem}
.cell_output {overflow-x: auto}
.bd-article table {font-size: .82rem}
.cell_output table {font-size: .78rem}
.cell_output table :is(td, th) {text-align: right; padding: .1rem .45rem}
.cell_output table tbody th {text-align: left}
div.cell div.cell_input {border-left: 3px solid #4C72B0}
details.signature {margin-bottom: 1.2rem; font-size: .9rem}
details.signature summary {color: var(--pst-color-text-muted)}
blockquote {border-left: 0; padding-left: 0; font-size: 1.15rem; background: none}
.bd-sidebar-primary h3 {display: none}
.bd-sidebar-primary ul {list-style: none; padding-left: .5rem}
.bd-sidebar-primary li {margin: .15rem 0}
.bd-sidebar-primary p.caption {margin: .8rem 0 .2rem; font-weight: 600}
.bd-sidebar-primary .current > a {font-weight: 700}
div.math {margin: 1rem 0; font-size: 1.1rem; overflow-x: auto; flex-direction: row; justify-content: center}
'''


def local_links(text, host, depth):
    "Links to the published site, as links between the pages made here"
    up = '../' * depth

    def unlinked(match):
        return re.sub(r'\[`([^`]+)`\]\([^)]*\)', r'\1', match[0])

    text = re.sub(r'```python.*?```', unlinked, text, flags=re.S)
    return re.sub(re.escape(host) + r'/([\w/]+)\.html', lambda m: f'{up}{m[1]}.ipynb', text)


def is_for_pages(output):
    widget = 'application/vnd.jupyter.widget-view+json' in output.get('data', {})
    return not widget and output.get('name') != 'stderr'


def plots(cell):
    "Whether a code cell is about how a figure looks, which a reader may skip"
    return draws(cell) and len(re.findall(r'\b(?:ax|axes|fig|plt)\b', cell.source)) > 2


def directed(cell):
    "What a code cell asks of Quarto: no source, a caption, which is also what screen readers say"
    hide_source(cell)
    if plots(cell):
        cell.metadata.setdefault('tags', ['hide-input'])  # MyST-NB folds it
    text = caption(cell)
    if text:
        cell.metadata['mystnb'] = dict(figure=dict(caption=text), image=dict(alt=text))


def adapt(nb, host, name):
    "What nbdev writes for Quarto, in words that MyST-NB knows"
    front = front_title(nb)
    nb.metadata.pop('widgets', None)  # they would ask for scripts of another host
    if name == 'help/reference':
        nb.cells = as_reference(nb.cells)
    else:
        nb.cells = as_essay(nb.cells, name, front.get('main'))
    for cell in nb.cells:
        if cell.cell_type == 'markdown':
            cell.source = local_links(cell.source, host, name.count('/'))
        if cell.cell_type == 'code':
            directed(cell)
            cell.source = re.sub(r'^#\|.*\n?', '', cell.source, flags=re.M)
            cell.outputs = [o for o in cell.outputs if is_for_pages(o)]


def sections(website):
    "Captions of the sidebar, and the pages below each in the order in which they are read"
    listed = [part for part in website['sidebar']['contents'] if isinstance(part, dict)]
    return {
        part['section']: [str(Path(page).with_suffix('')) for page in part['contents']]
        for part in listed
    }


def contents(sections):
    "Tables of contents, one for each section"
    toc = '```{{toctree}}\n:hidden:\n:caption: {}\n\n{}\n```\n'
    return '\n'.join(toc.format(caption, '\n'.join(pages)) for caption, pages in sections.items())


class Links(HTMLParser):
    "Links, anchors and images of a page"

    def __init__(self):
        super().__init__()
        self.found = []
        self.ids = set()
        self.images = 0

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if 'id' in attrs:
            self.ids.add(attrs['id'])
        self.images += tag == 'img'
        self.found += [attrs[k] for k in ('href', 'src') if attrs.get(k)]


def target_of(page, url):
    "The file that a link leads to"
    target = (page.parent / unquote(url.path)).resolve() if url.path else page
    return target / 'index.html' if target.is_dir() else target


def broken(pages):
    "Links inside the site that lead nowhere"
    bad = set()
    for page, links in pages.items():
        for text in links.found:
            url = urlparse(text)
            if url.scheme or url.netloc or not (url.path or url.fragment):
                continue
            target = target_of(page, url)
            missing = not target.exists()
            lost = url.fragment and target in pages and url.fragment not in pages[target].ids
            if missing or lost:
                bad.add(f'{page.relative_to(docs)}: {text}')
    return sorted(bad)


def parsed():
    pages = {p.resolve(): Links() for p in rendered()}
    for page, links in pages.items():
        links.feed(page.read_text())
    return pages


def write_sources(host, toc):
    "Notebooks for Sphinx; returns how many figures they hold"
    src, figures = processed(), 0
    for path in notebooks():
        name = name_of(path)
        nb = nbformat.read(src / f'{name}.ipynb', 4)
        adapt(nb, host, name)
        for cell in nb.cells:
            if cell.cell_type == 'code':
                figures += sum('image/png' in o.get('data', {}) for o in cell.outputs)
        if name == 'index':
            nb.cells.append(nbformat.v4.new_markdown_cell(toc))
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(nb, work / f'{name}.ipynb')
    for path in texts():
        shutil.copy(path, work / path.relative_to(nbs))
    return figures


def texts():
    "Pages that are plain Markdown"
    return sorted(nbs.rglob('*.md'))


def check_sections(sections):
    "Every page is in one section, and every entry is a page"
    listed = [name for pages in sections.values() for name in pages]
    there = [name_of(p) for p in [*notebooks(), *texts()] if name_of(p) not in ('index', '404')]
    if sorted(listed) != sorted(there):
        sys.exit(f'sections and pages differ: {sorted({*listed} ^ {*there})}')


def based(page, host):
    "A page that is served in place of any other finds its files by the address of the site"
    text = page.read_text()
    page.write_text(text.replace('<head>', f'<head><base href="{host}/">', 1))


def main():
    "Render the processed notebooks, and check the result"
    cfg = website()
    parts = sections(cfg)
    check_sections(parts)
    for folder in (work, docs):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(nbs / 'assets', work / '_static')
    (work / '_static' / 'site.css').write_text(css)
    figures = write_sources(cfg['site-url'], contents(parts))
    words = dict(title=cfg['title'], about=cfg['description'], repo=cfg['repo-url'])
    (work / 'conf.py').write_text(conf.format(host=cfg['site-url'], **words))
    subprocess.run([sys.executable, '-m', 'sphinx', '-q', '-b', 'html', work, docs], check=True)
    based(docs / '404.html', cfg['site-url'])
    pages = parsed()
    images, bad = sum(links.images for links in pages.values()), broken(pages)
    if bad or images < figures:
        sys.exit(
            f'site is not whole: {images} of {figures} figures; broken links:\n' + '\n'.join(bad)
        )
    math = sum(Path(p).read_text().count('class="math') for p in pages)
    print(f'{len(pages)} pages, {images} images, {math} formulas, no broken link: _docs/index.html')


if __name__ == '__main__':
    main()

"""Open every page of the site in a headless browser: nothing is cut off, broken, or fetched from elsewhere.

python tools/browser.py          # after tools/site.py; says so and passes where there is no Chromium or Chrome
"""

import shutil
import sys

from nb import docs, rendered, website

browsers = ('chromium', 'chromium-browser', 'google-chrome', 'chrome')
widths = (1280, 390)  # of a laptop and of a phone, in pixels
# Inside the article no block may be wider than its frame, and on a phone the page itself may not scroll sideways
look = """(laptop) => {
    const wrong = [];
    const short = element => (element.innerText || '').trim().slice(0, 40).replaceAll('\\n', ' ');
    const frame = (document.querySelector('article') || document.body).getBoundingClientRect();
    if (document.documentElement.scrollWidth > window.innerWidth)
        wrong.push(`the page is ${document.documentElement.scrollWidth} pixels wide`);
    for (const image of document.images)
        if (!image.hidden && image.complete && !image.naturalWidth) wrong.push(`no picture: ${image.alt}`);
    if (!laptop) return wrong;
    for (const block of document.querySelectorAll('article pre, article table')) {
        const folded = block.closest('details:not([open])');
        const wide = block.getBoundingClientRect().right > frame.right + 1;
        if (!folded && (wide || block.scrollWidth > block.clientWidth + 1))
            wrong.push(`${block.tagName.toLowerCase()} overflows: ${short(block)}`);
    }
    return wrong;
}"""


def is_outside(url, host):
    return not url.startswith(('file:', 'data:', 'about:', host))


def complaints(page, paths, host):
    "What is wrong with pages that are opened one after another"
    asked, bad = [], []
    page.on('request', lambda request: asked.append(request.url))
    for path in paths:
        asked.clear()
        page.goto(path.as_uri())
        where = path.relative_to(docs)
        for width in widths:
            page.set_viewport_size(dict(width=width, height=900))
            bad += [
                f'{where} at {width}: {what}' for what in page.evaluate(look, width == widths[0])
            ]
        bad += [f'{where} fetches {url}' for url in asked if is_outside(url, host)]
    return bad


def found_browser():
    "Where a browser is, or None and the reason"
    try:
        import playwright  # noqa: F401
    except ImportError:
        return None, 'playwright is not installed'
    where = next(filter(None, map(shutil.which, browsers)), None)
    return where, f'there is none of {", ".join(browsers)}'


def main():
    "Look at all pages, and exit with what is wrong"
    where, why = found_browser()
    if where is None:
        print(f'site not looked at: {why}')
        return
    from playwright.sync_api import sync_playwright

    pages = rendered()
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=where, args=['--no-sandbox'])
        bad = complaints(browser.new_page(), pages, website()['site-url'])
        browser.close()
    if bad:
        sys.exit('\n'.join(bad))
    print(
        f'{len(pages)} pages looked at, {widths[0]} and {widths[1]} pixels wide: nothing is cut off'
    )


if __name__ == '__main__':
    main()

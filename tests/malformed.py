"""More than 200 image files as they are found in the wild and worse, each with what should become of it.

python tests/malformed.py FOLDER    writes them and prints what `dcvit` makes of each
"""

import io
import random
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def photo(h=48, w=64, seed=0):
    "A smooth picture with some noise"
    y, x = np.mgrid[:h, :w] / max(h, w)
    g = np.random.default_rng(seed)
    return (np.stack([x, y, 1 - x * y], -1) * 200 + g.integers(0, 55, (h, w, 3))).astype(np.uint8)


def coded(fmt, im=None, **kw):
    f = io.BytesIO()
    (im or Image.fromarray(photo())).save(f, fmt, **kw)
    return f.getvalue()


def png_chunk(kind, data):
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def png_bomb(w, h):
    return (
        b'\x89PNG\r\n\x1a\n'
        + png_chunk(b'IHDR', struct.pack('>IIBBBBB', w, h, 8, 2, 0, 0, 0))
        + png_chunk(b'IDAT', zlib.compress(b'\0' * 1000))
        + png_chunk(b'IEND', b'')
    )


formats = dict(jpg='JPEG', png='PNG', webp='WEBP', bmp='BMP', gif='GIF', tif='TIFF', ppm='PPM')


def in_mode(mode):
    "The picture in a mode of Pillow"
    im = Image.fromarray(photo())
    if mode == 'I;16':
        return Image.fromarray(photo()[..., 0].astype(np.uint16) * 257)
    if mode == 'PA':
        return im.convert('RGBA').convert('PA')
    return im.convert(mode)


def in_modes(size):
    for mode in ('L', 'P', 'RGBA', 'LA', '1', 'CMYK', 'YCbCr', 'I;16', 'PA'):
        for ext in ('png', 'tif', 'jpg', 'webp'):
            if mode == 'I;16' and ext not in ('png', 'tif'):
                continue
            try:
                yield f"{mode.replace(';', '')}.{ext}", coded(formats[ext], in_mode(mode)), size
            except (OSError, KeyError, ValueError):
                continue  # the format has no such mode


def turned(im):
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[274] = turn
        shown = im.size if turn < 5 else im.size[::-1]
        for ext in ('jpg', 'png', 'webp'):
            yield f'turned{turn}.{ext}', coded(formats[ext], im, exif=exif), shown


def animated(size):
    first, *others = [Image.fromarray(photo(seed=i)) for i in range(4)]
    for ext in ('gif', 'webp', 'png', 'tif'):
        data = coded(formats[ext], first, save_all=True, append_images=others)
        yield f'animated.{ext}', data, size


def of_odd_size(im):
    for s in (1, 2, 3, 7):
        yield f'tiny{s}.png', coded('PNG', im.resize((s, s))), (s, s)
    for w, h in ((50, 1), (1, 50), (40, 2), (3, 100)):
        yield f'thin{w}x{h}.png', coded('PNG', im.resize((w, h))), (w, h)


wrong_extensions = dict(
    jpg='png', png='jpg', gif='tif', webp='jpeg', bmp='gif', tif='webp', ppm='png'
)


def variants(im):
    "Coded in other ways than usual"
    for real, said in wrong_extensions.items():
        yield f'really_{real}.{said}', coded(formats[real])
    for q in (1, 5, 50, 95):
        yield f'quality{q}.jpg', coded('JPEG', im, quality=q)
    yield 'progressive.jpg', coded('JPEG', im, progressive=True)
    yield 'interlaced.png', coded('PNG', im, interlace=1)
    for c in ('tiff_lzw', 'tiff_deflate', 'packbits', 'raw'):
        yield f'{c}.tif', coded('TIFF', im, compression=c)
    yield 'lab.tif', coded('TIFF', Image.merge('LAB', im.split()))
    for i in (1, 50, 5000):
        yield f'trailing{i}.jpg', coded('JPEG') + b'\0' * i


odd_names = [
    'größe.jpg',
    '写真.png',
    'صورة.webp',
    'with space .gif',
    '-dash.jpg',
    "quote'.png",
    'new\nline.png',
    'emoji🙂.jpg',
    'UPPER.JPG',
    'dots.in.name.png',
    'x' * 200 + '.png',
    'é' * 120 + '.jpg',
    '%s%n.png',
    '$(id).png',
]


def good():
    "`(name, bytes, size)` of files that must be read, with the (width, height) they show"
    im = Image.fromarray(photo())
    for ext, fmt in formats.items():
        yield f'plain.{ext}', coded(fmt), im.size
    yield from in_modes(im.size)
    yield from turned(im)
    yield from animated(im.size)
    yield from of_odd_size(im)
    for name, data in variants(im):
        yield name, data, im.size
    for name in odd_names:
        kind = 'jpg' if name.lower().endswith('jpg') else 'png'
        yield name, coded(formats[kind]), im.size


def bad():
    "`(name, bytes)` of files that must be refused"
    for ext in formats:
        yield f'empty.{ext}', b''
        yield f'zeros.{ext}', b'\0' * 500
        yield f'text.{ext}', b'<html>404 Not Found</html>'
    for ext, fmt in formats.items():
        d = coded(fmt)
        for share in (0.02, 0.1, 0.3, 0.45, 0.6, 0.75, 0.9):
            yield f'cut{int(share * 100):02d}.{ext}', d[: max(1, int(len(d) * share))]
    g = random.Random(0)
    for i in range(20):
        yield f'noise{i}.{list(formats)[i % 7]}', g.randbytes(300)
    for w, h in ((60000, 60000), (20000, 20000), (2**30, 2**30), (2**31 - 1, 1), (100000, 3000)):
        yield f'bomb{w}x{h}.png', png_bomb(w, h)
    for w, h in ((0, 10), (10, 0), (0, 0)):
        yield f'nothing{w}x{h}.png', png_bomb(w, h)
    for w, h in ((51, 1), (1, 2000), (3000, 2)):
        yield f'line{w}x{h}.png', coded('PNG', Image.fromarray(photo()).resize((w, h)))
    d = bytearray(coded('PNG'))
    for k in (b'IHDR', b'IDAT'):
        e = bytearray(d)
        i = e.index(k)
        e[i + 6] ^= 255
        yield f'flipped_{k.decode()}.png', bytes(e)
    yield 'float.tif', coded('TIFF', Image.fromarray(photo()[..., 0].astype(np.float32) / 255))
    yield 'script.jpg', b'#!/bin/sh\ntouch /tmp/owned\n'
    yield (
        'pickle.png',
        b'\x80\x04\x95\x0f\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.',
    )


def write(folder, kind):
    "Write one kind; returns the paths"
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    out = []
    for name, data, *_ in kind():
        (folder / name).write_bytes(data)
        out.append(folder / name)
    return out


if __name__ == '__main__':
    from dcvit.images.decode import open_image

    for kind in (good, bad):
        for p in write(Path(sys.argv[1]) / kind.__name__, kind):
            try:
                print(f'{p.name!r:<40} {open_image(p).size}')
            except ValueError as e:
                print(f'{p.name!r:<40} {e}')

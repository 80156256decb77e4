import re
from configparser import ConfigParser
from pathlib import Path

import setuptools

config = ConfigParser(delimiters=["="])
config.read("settings.ini", encoding="utf-8")
cfg = config["DEFAULT"]


def lines(key):
    return [r for r in cfg.get(key, "").split() if r]


site = cfg["doc_host"] + cfg["doc_baseurl"]


def readme():
    "The README with links that work on a package index"
    path = Path("README.md")
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    text = re.sub(r"\]\(nbs/([\w/]+)\.ipynb\)", rf"]({site}/\1.html)", text)
    raw = cfg["git_url"].replace("github.com", "raw.githubusercontent.com")
    return re.sub(r"\]\((index_files/[\w.]+)\)", rf"]({raw}/{cfg['branch']}/\1)", text)


extras = {name: lines(f"{name}_requirements") for name in ("onnx", "ray", "docs", "test")}
extras["docs"] += extras["onnx"]  # a page exports to ONNX
extras["dev"] = extras["docs"] + extras["test"]

setuptools.setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=readme(),
    long_description_content_type="text/markdown",
    author=cfg["author"],
    author_email=cfg["author_email"],
    url=cfg["git_url"],
    project_urls={
        "Documentation": site,
        "Changelog": f"{site}/help/changelog.html",
        "Issues": f"{cfg['git_url']}/issues",
    },
    license="Apache-2.0",
    keywords=cfg["keywords"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "License :: OSI Approved :: Apache Software License",
        "Operating System :: OS Independent",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Natural Language :: English",
        *(f"Programming Language :: Python :: 3.{v}" for v in range(10, 14)),
    ],
    packages=setuptools.find_packages(include=["dcvit", "dcvit.*"]),
    package_data={"dcvit": ["assets/*"]},
    python_requires=f">={cfg['min_python']}",
    install_requires=lines("requirements"),
    extras_require=extras,
    entry_points={
        "console_scripts": lines("console_scripts"),
        "nbdev": [f"{cfg['lib_path']}={cfg['lib_path']}._modidx:d"],
    },
    zip_safe=False,
)

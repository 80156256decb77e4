from configparser import ConfigParser
from pathlib import Path

import setuptools

config = ConfigParser(delimiters=["="])
config.read("settings.ini", encoding="utf-8")
cfg = config["DEFAULT"]


def lines(key):
    return [r for r in cfg.get(key, "").split() if r]


extras = {name: lines(f"{name}_requirements") for name in ("onnx", "ray", "docs", "test")}
extras["docs"] += extras["onnx"]  # a page exports to ONNX
extras["dev"] = extras["docs"] + extras["test"]

setuptools.setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=Path("README.md").read_text(encoding="utf-8")
    if Path("README.md").exists()
    else "",
    long_description_content_type="text/markdown",
    author=cfg["author"],
    author_email=cfg["author_email"],
    url=cfg["git_url"],
    license="Apache-2.0",
    keywords=cfg["keywords"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
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

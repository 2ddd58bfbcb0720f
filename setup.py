"""`pip install .` installs the project as one package, `matchpoint`; the rest stands in pyproject.toml.

Its folders keep their names inside that package, and `commands.py` puts them on the path: data, tools or
engine as packages of their own would collide with those of others.
"""

from setuptools import find_namespace_packages, setup

FOLDERS = (
    "adapters", "assigners", "configs", "data", "detector", "engine", "evaluation", "inference", "tools",
)  # fmt: skip
inside = find_namespace_packages(include=[pattern for name in FOLDERS for pattern in (name, f"{name}.*")])
setup(
    packages=["matchpoint", *(f"matchpoint.{name}" for name in inside)],
    package_dir={"matchpoint": "."},
    # Each kind of file that stands beside code; tests/packaging finds one that is left out.
    package_data={"": ["*.yaml", "*.html", "*.css", "*.js", "*.svg", "*.json", "*.md", "py.typed"]},
)

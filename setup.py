"""Which folders are packages: `curate/` of this checkout is `clipmill.curate`, and so on (see `package-dir` in
pyproject.toml).
"""

from setuptools import find_packages, setup

setup(
    packages=["clipmill", *(f"clipmill.{name}" for name in find_packages(include=["curate*", "evaluate*", "models*"]))]
)

"""The documentation as a site: `make docs`. Pages are Markdown (MyST), the reference comes from docstrings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx
from sphinx.util.inspect import TypeAliasForwardRef

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import mlgle_lammps  # noqa: E402

project = "mlgle_lammps"
author = "mlgle_lammps contributors"
copyright = "mlgle_lammps contributors, MIT licence"
version = release = mlgle_lammps.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["notebook.ipynb"]
"""The short notebook starts from the demo's run, which takes minutes; its test executes it on another stream."""

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 900
nb_merge_streams = True
nb_execution_show_tb = True

default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_type_aliases = {name: name for name in ("ArrayLike", "Float32", "Float64", "Int64")}
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = f"mlgle_lammps {version}"
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
html_static_path = ["static"]
html_css_files = ["narrow.css"]


class CommandHelp(Directive):
    """``{command-help} NAME``: what ``mlgle NAME --help`` says of this very version."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the command's own text."""
        command = [sys.executable, "-m", "mlgle_lammps.cli", *self.arguments[0].split(), "--help"]
        told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, env=_environment())
        return [nodes.literal_block(told.stdout, told.stdout, language="text")]


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "COLUMNS": "100", "PYTHONPATH": str(ROOT)}


def setup(app: Sphinx) -> None:
    """Add the directive, and let aliases inside other types stand by their names, not as autodoc's own objects."""
    app.add_directive("command-help", CommandHelp)
    TypeAliasForwardRef.__repr__ = lambda alias: alias.name  # type: ignore[method-assign]

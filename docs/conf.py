"""Settings of Sphinx, which makes the site out of these pages: `make docs`."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
os.environ.setdefault("JAX_PLATFORMS", "cpu")  # the numbers of the pages are the same wherever they are built

project = "A Vision Transformer, backpropagated by hand"
author = "the authors"
extensions = ["myst_parser", "sphinx.ext.mathjax", "sphinx-mathjax-offline"]
extensions += ["cells", "wrapping", "tag_links", "site_search", "microscope"]  # of this folder
exclude_patterns = ["figures"]
nitpicky = True

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3  # as on GitHub, headings can be linked to

html_theme = "furo"
html_title = project
html_static_path = ["static"]
html_css_files = ["book.css"]
html_js_files = [(f"{name}.js", {"defer": "defer"}) for name in ("tags", "microscope/vit", "microscope/pieces")]
html_show_copyright = False
html_show_search_summary = False  # site_search.py shows its own
html_copy_source = False

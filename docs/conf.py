"""Settings of Sphinx, which makes the site out of these pages: `make docs`."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
os.environ.setdefault("JAX_PLATFORMS", "cpu")  # the numbers of the pages are the same wherever they are built

project = "A Vision Transformer, backpropagated by hand"
author = "the authors"
version = "unreleased"
extensions = ["myst_parser", "sphinx.ext.mathjax", "sphinx-mathjax-offline"]
extensions += ["cells", "wrapping", "tag_links", "site_search", "ebook", "microscope"]  # of this folder
exclude_patterns = ["figures"]
nitpicky = True

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3  # as on GitHub, headings can be linked to

html_theme = "furo"
html_title = project
html_static_path = ["static"]
html_css_files = ["book.css"]
html_js_files = [(f"{name}.js", {"defer": "defer"}) for name in ("tags", "microscope/vit", "microscope/pieces")]
html_show_copyright = False
html_show_search_summary = False  # site_search.py shows its own
html_copy_source = False

epub_basename = "vit-by-hand"
epub_description = "The whole backward pass of a Vision Transformer, derived step by step, with code and checks."
epub_identifier = epub_uid = "vit-by-hand"
epub_copyright = "MIT, see LICENSE"
epub_css_files = ["ebook.css"]
epub_show_urls = "no"
epub_use_index = False
epub_tocdepth = 2
epub_tocscope = "includehidden"

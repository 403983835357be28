"""Settings of the pages that Sphinx makes of the notebooks: they open from the disk, without a network."""

project = "Marginalia"
author = "the Marginalia contributors"
language = "en"
extensions = ["myst_nb", "sphinx-mathjax-offline"]

# Notebooks come executed and cleaned.
nb_execution_mode = "off"
nb_ipywidgets_js = {}  # else two scripts are loaded from elsewhere
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_dmath_double_inline = True  # $$...$$ inside a paragraph, as Jupyter takes it
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # solutions are folded under a heading two levels down

html_theme = "sphinx_book_theme"
html_title = "Marginalia"
html_context = {"default_mode": "auto"}  # light or dark as the reader's system is
html_theme_options = {"navbar_persistent": []}  # the search field of the sidebar is enough
html_static_path = html_css_files = ["pages.css"]
html_show_search_summary = False  # it would ask across files, which browsers forbid to pages from a disk

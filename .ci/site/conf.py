"""Sphinx's settings for the static site: the lessons as they are stored, nothing is run and nothing is fetched."""

project = "featlab"
author = "the featlab contributors"
extensions = ["myst_nb"]
html_theme = "furo"
html_title = "featlab"
html_theme_options = {"light_css_variables": {"font-stack": "system-ui, sans-serif"}}
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
nb_execution_mode = "off"
nb_ipywidgets_js = {}  # static faces only: no script from elsewhere
nb_merge_streams = True
myst_enable_extensions = ["dollarmath"]
suppress_warnings = ["myst.header", "mystnb.unknown_mime_type"]

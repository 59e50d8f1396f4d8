"""The manual as a site, in two languages: NAME.md is English, NAME_zh.md beside it the same page in Chinese."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "LightRFT"
author = "The LightRFT authors"
project_copyright = "The LightRFT authors, Apache-2.0"
release = version = version_of("lightrft-apps")
language = "en"

extensions = ["myst_parser", "sphinx_copybutton", "generated_parts", "twins"]
templates_path = ["_templates"]
exclude_patterns = ["_ext", "_templates", "_static"]
source_suffix = {".md": "markdown"}

myst_heading_anchors = 4
smartquotes = False
copybutton_exclude = ".linenos, .gp"

html_theme = "furo"
html_title = "LightRFT"
html_logo = "_static/logo.svg"
html_static_path = ["_static"]
html_css_files = ["manual.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {"sidebar_hide_name": True}

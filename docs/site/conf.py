"""Sphinx's configuration of the site. `python -m nbtools site` gathers the sources around it and builds them."""

from docutils import nodes
from latex2mathml.converter import convert

import nbtools

project, author, copyright = "nbtools", "the nbtools authors", "the nbtools authors, MIT licence"
version = release = nbtools.__version__
extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["README.md", "extra", "kept", "static"]
highlight_language = "text"

# Pages and notebooks: nothing is executed, nothing asked of another host.
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_render_markdown_format = "myst"
nb_ipywidgets_js = {}
nb_code_prompt_show, nb_code_prompt_hide = "Show the parameters", "Hide the parameters"
nb_mime_priority_overrides = [("html", "text/html", 0)]

# The reference.
default_role = "py:obj"
autodoc_typehints = "none"  # docstrings say types, shapes and units
autodoc_member_order = "bysource"
autosummary_generate = False
numpydoc_show_class_members = False

# The look.
html_theme = "pydata_sphinx_theme"
html_title = "nbtools"
html_context = {"default_mode": "auto"}
html_static_path, html_extra_path = ["static"], ["extra"]
html_css_files, html_js_files = ["site.css"], [("figures.js", {"defer": "defer"})]
html_favicon = "static/logo.svg"
html_sidebars = {"index": [], "gallery": [], "explorers-page": []}
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"image_light": "static/logo.svg", "image_dark": "static/logo.svg", "text": "nbtools", "alt_text": ""},
    "header_links_before_dropdown": 8,
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}


def _mathml(display):
    """Formulas as MathML, which browsers draw themselves: no script, no fonts from elsewhere."""

    def visit(self, node):
        self.body.append(convert(node.astext(), display=display))
        raise nodes.SkipNode

    return visit, None


def setup(app):
    """Tell Sphinx of the formulas."""
    app.add_html_math_renderer("mathml", _mathml("inline"), _mathml("block"))


html_math_renderer = "mathml"

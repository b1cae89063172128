"""Launch, edit, issue and social links, all derived from the one value `repository: url` of _config.yml."""

import re
from urllib.parse import urlsplit

BUTTONS = ("use_repository_button", "use_edit_page_button", "use_issues_button")
LAUNCH = {
    "notebook_interface": "jupyterlab",
    "binderhub_url": "https://mybinder.org",
    "colab_url": "https://colab.research.google.com",
}


def link(app, config):
    """Switch on every link that needs the repository's address, if there is one."""
    options = config.html_theme_options
    url = urlsplit(options["repository_url"])
    if not url.netloc:
        return
    options.update(dict.fromkeys(BUTTONS, True), launch_buttons=LAUNCH)
    if url.netloc == "github.com":
        owner, repository = url.path.strip("/").split("/")
        config.html_baseurl = config.ogp_site_url = f"https://{owner.lower()}.github.io/{repository}/"


def drop_social_tags(app, pagename, templatename, context, doctree):
    """Leave out the tags of a page that has no address to share."""
    if not app.config.ogp_site_url:
        context["metatags"] = re.sub(r'<meta (property="og|name="twitter):[^>]*>\n?', "", context.get("metatags", ""))


def setup(app):
    """Register with Sphinx: before the theme reads its options, and after sphinxext.opengraph wrote its tags."""
    app.connect("config-inited", link, priority=100)
    app.connect("html-page-context", drop_social_tags, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

"""A page taken apart: what it has, holds and asks of the network."""

import base64
import gzip
import re
from html.parser import HTMLParser
from pathlib import Path

TEMPLATES = Path(__file__).parents[2] / "efat/reporting/html/templates"


PARTS = {"data", "plotly"}


class Page(HTMLParser):
    """Collects what a page has and what it asks of the network."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.addresses, self.texts, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.ids += [named["id"]] if "id" in named else []
        self.addresses += [named[k] for k in ("src", "href", "srcset") if k in named]
        self.open.append(tag)

    def handle_data(self, data):
        if self.open[-1:] != ["script"]:
            self.texts.append(data)


def unpack(text, part):
    body = re.search(rf'id="{part}">([^<]*)<', text).group(1)
    return gzip.decompress(base64.b64decode(body))

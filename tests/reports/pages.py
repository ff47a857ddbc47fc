"""What a page says and points to, read as a browser would read it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

SENTENCE = re.compile(r"(?:\b[a-z]{2,}[ ,:;]+){2,}[a-z]{2,}")
"""Three words of small Latin letters in a row: no name, code or unit is that long."""


class Page(HTMLParser):
    """Words, addresses and tag names of a page."""

    VOID = frozenset(
        {"meta", "img", "br", "source", "line", "rect", "circle", "path", "input", "col"}
    )

    def __init__(self, html):
        super().__init__()
        self.addresses, self.tags, self._words, self._open, self.unclosed = [], set(), [], [], []
        self._languages, self._spoken = [], []
        self.feed(html)
        self.unclosed = self._open

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.addresses += [
            value
            for name, value in attrs
            if tag != "use" and name in {"src", "href", "srcset", "action", "data", "poster"}
        ]
        if tag not in self.VOID:
            self._open.append(tag)
            self._languages.append(dict(attrs).get("lang") if tag != "html" else None)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self._open.pop()
            self._languages.pop()

    def handle_endtag(self, tag):
        assert self._open, f"{tag} closed, none open"
        assert self._open.pop() == tag, f"{tag} closed out of order"
        self._languages.pop()

    def handle_data(self, data):
        if not {"style", "title", "script"} & set(self._open):
            self._words.append(data)
            self._spoken.append((next(filter(None, reversed(self._languages)), None), data))

    @property
    def text(self):
        return " ".join(" ".join(self._words).split())

    def in_language(self, code):
        """The words of a reader of one language: what has no language, and what has this one."""
        words = (data for language, data in self._spoken if language in {None, code})
        return " ".join(" ".join(words).split())

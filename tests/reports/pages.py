"""What a page says and points to, read as a browser would read it."""

from __future__ import annotations

from html.parser import HTMLParser


class Page(HTMLParser):
    """Words, addresses and tag names of a page."""

    VOID = frozenset({"meta", "img", "br", "source", "line", "rect", "circle", "path"})

    def __init__(self, html):
        super().__init__()
        self.addresses, self.tags, self._words, self._open, self.unclosed = [], set(), [], [], []
        self.feed(html)
        self.unclosed = self._open

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.addresses += [
            value
            for name, value in attrs
            if name in {"src", "href", "srcset", "action", "data", "poster"}
        ]
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self._open.pop()

    def handle_endtag(self, tag):
        assert self._open, f"{tag} closed, none open"
        assert self._open.pop() == tag, f"{tag} closed out of order"

    def handle_data(self, data):
        if not {"style", "title"} & set(self._open):
            self._words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self._words).split())

"""Figures of the pages by subject, each made from plain values as the bytes of a PNG.

The same values give the same bytes.
"""

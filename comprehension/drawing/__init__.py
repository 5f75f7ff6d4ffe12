"""Drawings as SVG text: graphs, trees, lattices of integer points, timelines, curves.

In: plain records (boxes, nodes, points, intervals).  Out: one `<svg>` element to put into any page.
Invariant: no scripts, no fonts, no network; every text is escaped; the same input gives the same bytes; readable on
light and dark pages.  Nothing here knows what is drawn: `comprehension.pictures` and `coexec.reports.pictures` do.
"""

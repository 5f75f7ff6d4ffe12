"""What co-execution made of a step and what it gained, for people.

`report` has the numbers and reasons, as a page (`report_page`), or in time (`timeline`);
`explanation` has traces, graphs and kernels as text and `pictures`; `dump` writes them as files.
"""

"""What `pcpad paper` is made of.

`published.yaml` has the papers' numbers and `published` reads them. `trained` reads what runs left, `timings` what
`pcpad bench` wrote. `lines` has a table's rows, `measured` our cells of them, `comparable` what differs in data and
schedule, `making` puts them together, `writing` prints. `drawing` has `pcpad figure` and `comparison.plots` draw.
"""

"""What `pcpad paper` is made of.

`published.yaml` has the papers' numbers, `published` reads them; `trained` reads what runs left, `timings` what
`pcpad bench` wrote; `measured` makes our cells of a table, `comparable` says what differs in data and schedule, `writing`
puts both into text, Markdown, LaTeX and CSV, and `drawing` has `pcpad figure` and `pcpad compare` draw.
"""

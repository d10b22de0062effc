"""What `pcpad compare` is made of.

`grid` says which cells there are and remembers them in the folder, `conversions` whether paddings reach the network,
`cells` which commands a cell consists of and which of them are done, `worker` runs one cell in a process of its own,
`running` runs the grid. `runs` reads what a folder holds, `results` sorts it and `statistics` computes; from there
`report` makes, prints and writes tables, and `plots` draws. A new column is an entry in `report.COLUMNS`. Only `worker`
trains; reading and writing a report need neither Lightning nor a GPU.
"""

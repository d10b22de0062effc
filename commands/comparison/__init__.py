"""What `pcpad compare` is made of.

`grid` says which cells there are and remembers them in the folder, `cells` which commands a cell consists of and which
of them are done, `worker` runs one cell in a process of its own, `running` runs the grid. `results` reads a folder,
`statistics` computes, `tables` and `report` write, `plots` draws. Only `worker` trains; reading and writing a report
need neither Lightning nor a GPU.
"""

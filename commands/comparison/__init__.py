"""What `pcpad compare` is made of.

`stages` reads files of several comparisons, `request` the command line of one, `axes` what varies, `templates` what
follows from it and `tuning` what is chosen on validation. `grid` says which cells there are and remembers them in the
folder, `conversions` whether paddings reach the network, `cells` which commands a cell consists of and which of them
are done, `worker` runs one cell in a process of its own, `running` runs the grid on this machine; `engines` says where
else, `on_ray` and `on_slurm`, by `remote`.

`runs` reads what a folder holds, `results` sorts it and `statistics` computes; from there `items` compares item by
item, `report` makes and prints tables, `written` writes them, and `plots` draws. A new column is an entry in
`report.COLUMNS`. Only `worker` trains; reading and writing a report need neither Lightning nor a GPU.
"""

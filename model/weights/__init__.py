"""The parameters of a ViT under the names, and in the layouts, of other libraries.

layouts.py    how one tensor is laid out there: a pair of functions, forth and back
tables.py     one table per library: our names, theirs, and the layout
namings.py    the libraries: their table, what they cannot express, what they compute where a file does not say
maps.py       a table read in both directions: a tree of parameters -> named arrays -> the same tree
infer.py      the model that named arrays belong to

All of it is pure: arrays in, arrays out. Files and runs are the business of `python -m training.weights`.
"""

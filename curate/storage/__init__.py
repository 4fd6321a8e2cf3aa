"""Objects that lie elsewhere, as files of this machine: addresses, fetching, the folder in which they are staged.

A source by an address has one place in the staging folder, which follows from the address; everything after fetching it
is as for any other file. Names of hosts that are asked, and credentials, come from the environment alone.

May import: weights (the download that goes on where it broke off), the signs of engines, common, errors.
"""

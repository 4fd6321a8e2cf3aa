"""Studies of the metrics themselves: the sanity study, the self-test, the training of the network `mini`.

May import: everything in evaluate but the commands.
"""

"""What curating so many clips costs: hours, bytes, objects, money.

May import: tables, settings, common.
"""

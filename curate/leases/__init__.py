"""Who is at work on a folder, across machines: leases with a heartbeat, beside the locks of one machine.

May import: common. Imported by: tables, driver.
"""

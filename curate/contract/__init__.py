"""What everything in curate agrees on: the schema of tables, what an annotator is, the list of a clip's captions.

May import: errors. Imported by: everyone.
"""

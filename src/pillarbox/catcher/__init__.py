"""What to do with mail that is caught: show it. Begin with handler.py.

message.py makes of the octets what a person wants to see (tree.py, header.py, content.py and html.py
do parts of that). terminal.py writes it for people and record.py for programs; printer.py gets that
onto standard output.
"""

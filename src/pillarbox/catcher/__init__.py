"""What to do with mail that is caught: show it. Begin with handler.py.

message.py makes of the octets what a person wants to see, with the help of tree.py, header.py,
content.py and html.py. terminal.py writes it for people and record.py for programs; printer.py gets
that onto standard output.
"""

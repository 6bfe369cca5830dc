"""SMTP itself: octets in, events out; standard library only, no I/O. Begin with server.py."""

"""Receiver CPU and memory of Pillarbox beside other SMTP servers; see README.md."""

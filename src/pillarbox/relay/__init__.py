"""Mail that is accepted, made durable, delivered, retried and bounced. Begin with spool.py.

spool.py is the interface of where mail is safe, sqlite.py the embedded one. intake.py is the
handler that takes mail in, schedule.py decides what is tried when, route.py where to, delivery.py
does it, and dsn.py tells senders what became of their mail.
"""

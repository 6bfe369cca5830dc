"""GNU Mailman 3 behind a relay: what it knows goes to it by LMTP, the rest goes on its way.

lookup.py asks Mailman, intake.py decides at RCPT, route.py finds Mailman again from the spool,
notice.py sends notifications there that are for it. All else is the relay's.
"""

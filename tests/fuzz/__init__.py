"""The properties of the receiver, each one a test of the bare core.

`make test` runs them for seconds, `make fuzz` for long (HYPOTHESIS_PROFILE=long). That nothing in
the packet of STARTTLS counts, what SASL takes and what PROXY takes are properties of protocols that
are not here yet; their tests come with them.
"""

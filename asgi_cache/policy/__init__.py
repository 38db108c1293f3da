"""RFC 9111 and the design as pure verbs, a file per section: no clock, no loop, no store."""

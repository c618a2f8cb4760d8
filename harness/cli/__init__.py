"""The command line: every option is declared once, in ``declared``; the rest is made from that."""

"""The command line: every option is declared once, in ``declarations``; the rest comes of that."""

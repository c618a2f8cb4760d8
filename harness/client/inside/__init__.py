"""The program that a client's own Python runs, from 3.6 on: started as a file, in no package."""

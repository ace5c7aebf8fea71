"""The command line: in this process where that shows the same, else as a process."""

"""Parts of the command line: what help is made of, and the commands that look back at runs."""

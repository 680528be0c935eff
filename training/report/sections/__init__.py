"""What a page says of a run, one part a file; most parts take one run or two side by side."""

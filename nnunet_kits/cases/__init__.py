"""Work on many cases: finding them, doing several at once, how many fit into memory, what a stopped run has left."""

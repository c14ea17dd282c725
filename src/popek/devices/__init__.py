"""Virtual devices as a guest sees them. What they lead to (files, sockets, harts) is passed in."""

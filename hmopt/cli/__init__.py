"""One command, `hmopt`: here the layers are joined."""

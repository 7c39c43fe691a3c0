"""What learns the dynamics from frames and generates more of them; each surrogate in a folder of its own."""

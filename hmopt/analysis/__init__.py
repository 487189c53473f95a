"""What measurements say: best settings, how sure they are, and what choosing them gains on other subjects."""

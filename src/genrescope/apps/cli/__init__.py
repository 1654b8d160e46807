"""The command ``genrescope``: one module a command."""

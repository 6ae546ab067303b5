"""mqadmin's commands, by what they are about."""

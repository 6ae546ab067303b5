"""Where all parts meet: command lines, configuration, and the processes they make."""

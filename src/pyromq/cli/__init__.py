"""Commands for any RocketMQ cluster, built on `pyromq.client`. Everything is imported when its
command runs: the start stays short."""

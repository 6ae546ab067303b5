"""Commands for any RocketMQ cluster, built on `pyromq.client`."""

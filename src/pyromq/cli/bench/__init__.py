"""`pyromq bench`: load for any RocketMQ, measured as a client sees it."""

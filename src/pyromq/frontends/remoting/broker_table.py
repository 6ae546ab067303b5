"""The broker's table: every request code a broker answers on its remoting doors."""

from __future__ import annotations

from pyromq.api import BrokerApi
from pyromq.frontends.remoting.admin import AdminRows
from pyromq.frontends.remoting.clients import ClientRows
from pyromq.frontends.remoting.messages import MessageRows
from pyromq.frontends.remoting.offsets import OffsetRows
from pyromq.frontends.remoting.table import Table, table_of


def broker_table(broker: BrokerApi) -> Table:
    """The rows, bound to one broker."""
    return table_of(
        [
            *MessageRows(broker).rows(),
            *OffsetRows(broker).rows(),
            *ClientRows(broker).rows(),
            *AdminRows(broker).rows(),
        ]
    )


__all__ = ["broker_table"]

"""A local replica of a table in PostgreSQL: loaded once, and kept by what the server tells of changes."""

from dkvector.replication.replica import Replica, replica

__all__ = ["Replica", "replica"]

"""The nodes: watching them, knowing their streams, choosing where a session goes."""

from liveman.cluster.cluster import Cluster
from liveman.cluster.decision import Candidate, Decision
from liveman.cluster.node import Node, Way
from liveman.cluster.relay import Relays
from liveman.cluster.state import Role

__all__ = ["Candidate", "Cluster", "Decision", "Node", "Relays", "Role", "Way"]

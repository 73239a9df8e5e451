"""The signalling proxy: WHIP and WHEP requests of clients to nodes, byte for byte.

- `headers`, `routing`, `http1` decide and frame, without I/O.
- `exchange` is one request and its answer on a connection; `upstream` keeps the connections to the nodes.
- `body` and `answer` carry bytes, at the pace of the slower side.
- `attempts` sends once, and leaves no session behind; `forward` tries one node after another.
- `routes` names the paths and what Liveman answers by itself.
"""

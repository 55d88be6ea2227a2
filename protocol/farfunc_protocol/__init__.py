"""The protocol: graphs, arrays and messages. Bytes in, values out; standard library and NumPy only."""
